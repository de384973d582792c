//! From a connection to a stream of the runtime.

use super::*;

fn is_nonblocking(socket: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_connection_becomes_a_stream_of_the_runtime() {
    run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let (client, server) = clients(1).remove(0);
        supervisor.pass(&[(0, server.as_fd())]);
        drop(server);
        let connection = taken(&protector).await;
        assert!(!is_nonblocking(&connection));
        let mut stream = TcpStream::try_from(connection).unwrap();
        assert!(is_nonblocking(&stream));
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client).unwrap();
        let mut bytes = [0; 4];
        let mut reading = Box::pin(stream.read_exact(&mut bytes));
        assert!(waits(reading.as_mut()).await);
        client.write_all(b"ping").await.unwrap();
        assert_eq!(reading.await.unwrap(), 4);
        assert_eq!(&bytes, b"ping");
    });
}

#[test]
fn a_connection_over_a_unix_socket_becomes_a_unix_stream_only() {
    run(async {
        let name = format!("socket-protector-client-tokio-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let (_supervisor, protector) = adapted(Supervisor::with(vec![listener.into()]));
        let client = || UnixClient::connect_addr(&address).unwrap();
        let clients = [client(), client()];
        let error = TcpStream::try_from(taken(&protector).await).unwrap_err();
        assert_eq!(error.to_string(), "the connection is not a TCP stream");
        let mut stream = UnixStream::try_from(taken(&protector).await).unwrap();
        assert!(is_nonblocking(&stream));
        drop(clients);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
    run(async {
        let (listener, address) = listener();
        let (_supervisor, protector) = adapted(Supervisor::with(vec![listener.into()]));
        let _client = Client::connect(address).unwrap();
        let error = UnixStream::try_from(taken(&protector).await).unwrap_err();
        assert_eq!(error.to_string(), "the connection is not a unix stream");
    });
}
