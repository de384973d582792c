//! A page by axum: `axum_page FILE` serves that file, as it was when the server started, at `$PORT` of this host.
//!
//!     socket-protector dev 8000 '{port}' --inject --build 'cargo build' --exec target/debug/examples/axum_page page.html

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("which file?")?;
    let page = std::fs::read_to_string(file)?;
    let port: u16 = std::env::var("PORT")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        axum::serve(listener, Router::new().route("/", get(move || async { Html(page) }))).await?;
        Ok(())
    })
}
