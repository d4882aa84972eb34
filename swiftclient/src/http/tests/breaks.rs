//! Servers that break, stall and lie about lengths.

use super::*;

/// Answers the first request of each connection by `bytes`, then closes.
async fn once(bytes: &'static [u8]) -> Server {
    Server::new(move |mut tcp, _| async move {
        if head(&mut tcp).await.is_some() {
            answer(&mut tcp, bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_connection_is_unsent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let put = || {
        let body = Body::from(Bytes::from_static(b"x"));
        Request::put(format!("http://{address}/")).body(body).unwrap()
    };
    let error = client().call(put(), 1).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Connect, false), "{error}");
    assert_eq!(error.into_store("put x", true).kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_connection_that_is_never_made_times_out() {
    // A listener whose queue is full does not answer any more.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    for _ in 0..8 {
        let connect = TcpStream::connect(address);
        fill.push(tokio::time::timeout(Duration::from_millis(50), connect).await);
    }
    let config = HttpConfig { connect_timeout: Duration::from_millis(200), ..config() };
    let request = Request::get(format!("http://{address}/")).body(Body::Empty).unwrap();
    let error = HttpClient::new(&config).unwrap().call(request, 1).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Connect, false), "{error}");
}

#[tokio::test]
async fn truncated_replies_are_never_whole() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ] {
        let server = once(bytes).await;
        let client = client();
        let error = client.call(server.get(), 100).await.unwrap_err();
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!((error.kind, error.sent), (HttpErrorKind::Broken, true), "{shown}: {error}");
        assert_eq!(error.clone().into_store("get x", false).kind(), ErrorKind::Unavailable);
        assert_eq!(error.into_store("put x", true).kind(), ErrorKind::Unknown);
        // Only to try whether it wants TLS, where it said nothing at all.
        let trial = usize::from(bytes.is_empty());
        let made = server.connections();
        assert_eq!(made, 1 + trial, "a fresh connection that breaks is not repeated");
    }
}

#[tokio::test]
async fn a_reply_whose_end_only_the_close_tells_is_refused() {
    let server = once(b"HTTP/1.1 200 OK\r\n\r\nhello").await;
    let error = client().call(server.get(), 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Protocol, "{error}");
    let server = once(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let reply = client().call(server.get(), 100).await.unwrap();
    assert_eq!(reply.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_is_not_http_is_named() {
    let server = once(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let error = client().call(server.get(), 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_refused_with_and_without_a_length() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for bytes in [OK, chunked] {
        let server = once(bytes).await;
        assert_eq!(client().call(server.get(), 5).await.unwrap().body(), &b"hello"[..]);
        let error = client().call(server.get(), 4).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::TooLong, "{error}");
    }
}

#[tokio::test]
async fn a_head_answer_has_a_length_and_no_body() {
    let server = Server::new(|mut tcp, _| async move {
        while head(&mut tcp).await.is_some() {
            answer(&mut tcp, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        }
    })
    .await;
    let client = client();
    for _ in 0..3 {
        let reply = client.call(server.request(Method::HEAD, Body::Empty), 0).await.unwrap();
        assert_eq!(reply.headers()["content-length"], "1000000");
    }
    assert_eq!(server.connections(), 1);
}

/// Serves one request on the first connection and closes it when it gets the second.
async fn closer() -> Server {
    Server::new(|mut tcp, number| async move {
        head(&mut tcp).await.unwrap();
        answer(&mut tcp, OK).await;
        if number > 0 {
            polite(tcp, number).await;
        } else {
            head(&mut tcp).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_error_of_a_repeatable_request() {
    let server = closer().await;
    let client = client();
    client.call(server.get(), 100).await.unwrap();
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_change_on_a_kept_connection_that_was_closed_is_stale_and_unknown() {
    let server = closer().await;
    let client = client();
    client.call(server.get(), 100).await.unwrap();
    let put = server.request(Method::PUT, Body::from(Bytes::from_static(b"x")));
    let error = client.call(put, 100).await.unwrap_err();
    assert!(error.stale && error.sent, "{error:?}");
    assert_eq!(error.into_store("put x", true).kind(), ErrorKind::Unknown);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_is_seen_closed_is_not_used() {
    let server = Server::new(|mut tcp, _| async move {
        head(&mut tcp).await.unwrap();
        answer(&mut tcp, OK).await;
    })
    .await;
    let client = client();
    for _ in 0..5 {
        let put = server.request(Method::PUT, Body::Empty);
        client.call(put, 100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_stall() {
    let server = Server::new(|mut tcp, _| async move {
        head(&mut tcp).await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = client().call(server.get(), 100).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Stalled, true), "{error}");
}

#[tokio::test]
async fn a_reply_that_stops_in_the_middle_is_a_stall() {
    let server = Server::new(|mut tcp, _| async move {
        head(&mut tcp).await;
        answer(&mut tcp, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = client().call(server.get(), 100).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Stalled, true), "{error}");
}

#[tokio::test]
async fn an_upload_that_is_not_read_is_a_stall_and_closes_its_connection() {
    let (gone, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |mut tcp, _| {
        let gone = gone.clone();
        async move {
            head(&mut tcp).await;
            tokio::time::sleep(config().idle_timeout * 3).await;
            let mut sink = vec![0; 1 << 16];
            while tcp.read(&mut sink).await.is_ok_and(|n| n > 0) {}
            gone.send(()).unwrap();
        }
    })
    .await;
    // More than the sockets' buffers take.
    let body = Body::from(Bytes::from(vec![0; 64 << 20]));
    let error = client().call(server.request(Method::PUT, body), 100).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Stalled, true), "{error}");
    assert_eq!(error.into_store("put x", true).kind(), ErrorKind::Unknown);
    seen.recv().await.unwrap();
}

#[tokio::test]
async fn a_slow_server_that_moves_bytes_is_no_stall() {
    let server = Server::new(|mut tcp, _| async move {
        head(&mut tcp).await;
        answer(&mut tcp, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
        for _ in 0..8 {
            tokio::time::sleep(config().idle_timeout / 3).await;
            answer(&mut tcp, b"x").await;
        }
    })
    .await;
    assert_eq!(client().call(server.get(), 100).await.unwrap().body(), &b"xxxxxxxx"[..]);
}

#[tokio::test]
async fn an_answer_before_the_whole_body_is_heard_and_ends_its_connection() {
    let (gone, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |mut tcp, _| {
        let gone = gone.clone();
        async move {
            head(&mut tcp).await;
            answer(&mut tcp, b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
                .await;
            let mut sink = vec![0; 1 << 16];
            while tcp.read(&mut sink).await.is_ok_and(|n| n > 0) {}
            gone.send(()).unwrap();
        }
    })
    .await;
    let (sender, body) = Body::channel();
    let client = client();
    let reply = client.call(server.request(Method::PUT, body), 100).await.unwrap();
    assert_eq!(reply.status(), StatusCode::PRECONDITION_FAILED);
    // While the sender still has more to send: nobody wants it any more.
    let closed = tokio::time::timeout(Duration::from_secs(5), seen.recv()).await;
    assert_eq!(closed, Ok(Some(())), "the connection was kept");
    assert_eq!(sender.send(Bytes::from_static(b"x")).await, Err(Ended));
}

#[tokio::test]
async fn a_reply_that_is_dropped_closes_its_connection() {
    let server = Server::new(polite).await;
    let client = client();
    drop(client.send(server.get()).await.unwrap());
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 2);
}
