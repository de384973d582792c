//! A connection as the library sees it, by a pipe in memory.

use super::{Fault, Framed, Line};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Duration = Duration::from_secs(1000);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

async fn read(framed: &mut Framed<tokio::io::DuplexStream>) -> String {
    let mut buffer = [0; 1024];
    let count = framed.read(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn a_head_that_takes_too_long_is_refused_in_its_turn() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), Duration::from_millis(1));
        client.write_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHo").await.unwrap();
        assert!(read(&mut framed).await.starts_with("GET /1 "));
        assert_eq!(line.take_request(), (1, None));
        assert!(read(&mut framed).await.starts_with("GET / HTTP/1.1\r\nHost: none"), "another stands in its place");
        assert_eq!(line.take_request(), (2, Some(Fault::TooSlow)));
    });
}

#[test]
fn what_follows_an_upgrade_comes_when_it_is_decided() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\0\0").await.unwrap();
        read(&mut framed).await;
        let decided = async {
            line.decide(1, true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            bytes = read(&mut framed) => assert_eq!(bytes, "\0\0"),
            () = decided => {}
        }
    });
}

#[test]
fn an_answer_decides_about_its_own_request_alone() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        let upgrade = "GET /2 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\0\0";
        client.write_all(format!("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n{upgrade}").as_bytes()).await.unwrap();
        assert!(read(&mut framed).await.starts_with("GET /1 "));
        // The library reads on while the first one is being answered.
        assert!(read(&mut framed).await.starts_with("GET /2 "));
        line.decide(1, false);
        let first_only = tokio::time::timeout(Duration::from_millis(1), read(&mut framed));
        assert!(first_only.await.is_err(), "nothing is known of the second one");
        line.decide(2, true);
        assert_eq!(read(&mut framed).await, "\0\0");
    });
}

#[test]
fn a_fault_is_that_of_one_request() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        client.write_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\n").await.unwrap();
        read(&mut framed).await;
        read(&mut framed).await;
        assert_eq!(line.take_request(), (1, None));
        assert_eq!(line.fault(1), None, "its server may have lost it, but it is none of its faults");
        assert!(matches!(line.take_request(), (2, Some(Fault::Malformed(_)))));
    });
}

#[test]
fn an_interim_answer_does_not_go_into_the_answer_before() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(4);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        assert_eq!(framed.write(b"answer 1").await.unwrap(), 4);
        // The client does not read, and its next request is being served.
        line.interim(b"103 ");
        let mut four = [0; 4];
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(framed.write(b"er 1").await.unwrap(), 4);
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"er 1");
        framed.flush().await.unwrap();
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"103 ", "now there is nothing before it");
        // One that would come too late is left out.
        assert_eq!(framed.write(b"answer 2").await.unwrap(), 4);
        line.interim(b"103 ");
        line.answered();
        client.read_exact(&mut four).await.unwrap();
        framed.flush().await.unwrap();
        assert_eq!(framed.write(b"er 2").await.unwrap(), 4);
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"er 2");
    });
}

#[test]
fn so_many_interim_answers_are_kept_for_a_client_that_takes_none() {
    let line = Line::default();
    (0..100_000).for_each(|_| line.interim(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
    assert!(line.told().interim.len() < super::MOST_INTERIM + 100);
}

#[test]
fn an_interim_answer_is_written_while_the_request_is_read() {
    run(async {
        let (mut client, stream) = tokio::io::duplex(1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        let said = async {
            line.interim(b"HTTP/1.1 103 Early Hints\r\n\r\n");
            let mut buffer = [0; 28];
            client.read_exact(&mut buffer).await.unwrap();
            buffer
        };
        tokio::select! {
            biased;
            _ = read(&mut framed) => panic!("nothing was sent"),
            bytes = said => assert_eq!(&bytes, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        }
    });
}

#[test]
fn a_body_of_known_length_goes_by_without_a_copy_and_what_follows_is_looked_at() {
    const LENGTH: usize = 20_000;
    run(async {
        let (mut client, stream) = tokio::io::duplex(64 * 1024);
        let line = Arc::new(Line::default());
        let mut framed = Framed::new(stream, Arc::clone(&line), LONG);
        client
            .write_all(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        read(&mut framed).await;
        let body = "x".repeat(LENGTH);
        client
            .write_all(format!("{body}GET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\n").as_bytes())
            .await
            .unwrap();
        let mut got = String::new();
        while got.len() < LENGTH {
            let whole = LENGTH - got.len() >= 1024;
            got += &read(&mut framed).await;
            assert!(!whole || framed.input.is_empty(), "nothing is read ahead");
        }
        assert_eq!(got, body);
        assert!(read(&mut framed).await.starts_with("GET /2 "));
        assert!(read(&mut framed).await.starts_with("GET / HTTP/1.1\r\nHost: none"));
        assert_eq!((line.take_request().1, line.take_request().1), (None, None));
        assert!(line.take_request().1.is_some());
    });
}
