use rustix::net::sockopt::{tcp_nodelay, tcp_quickack};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

#[tokio::test]
async fn the_wish_for_acknowledgements_is_renewed_with_every_read_and_write() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut wire = Wire::new(tcp).unwrap();
    assert!(tcp_nodelay(&wire.tcp).unwrap());
    let mut bytes = [0; 4];
    for _ in 0..20 {
        // The kernel leaves the mode by itself once it takes a connection for a dialogue; done by
        // hand here, so that it shows each time.
        rustix::net::sockopt::set_tcp_quickack(&wire.tcp, false).unwrap();
        wire.write_all(b"ask?").await.unwrap();
        assert!(tcp_quickack(&wire.tcp).unwrap(), "not after a write");
        server.read_exact(&mut bytes).await.unwrap();
        server.write_all(b"said").await.unwrap();
        rustix::net::sockopt::set_tcp_quickack(&wire.tcp, false).unwrap();
        wire.read_exact(&mut bytes).await.unwrap();
        assert!(tcp_quickack(&wire.tcp).unwrap(), "not after a read");
    }
    assert_eq!((wire.moved.read(), wire.moved.written()), (80, 80));
    assert_eq!(wire.moved.first_byte(), Some(b's'));
}
