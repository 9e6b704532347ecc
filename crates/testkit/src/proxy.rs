//! A TCP proxy in front of a server, to inject network faults.
//!
//! By default it forwards. A fault affects all open connections of the proxy and, except for a single cut, all later ones.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// A running proxy. Dropped, it closes every connection and its port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    /// Aborts what it holds when it is dropped.
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Faults {
    weather: watch::Sender<Weather>,
    /// The port of the server, on 127.0.0.1.
    server: AtomicU16,
    /// How many more bytes may reach clients before a cut.
    allowance: Mutex<Option<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Weather {
    /// How often all connections were cut, and half closed. A connection compares with what it found.
    cuts: u64,
    half_closes: u64,
    is_down: bool,
    is_black_hole: bool,
    delay: Duration,
}

impl Proxy {
    /// A proxy on a port of its own, in front of a server on 127.0.0.1.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let faults = Arc::new(Faults {
            weather: watch::Sender::new(Weather::default()),
            server: AtomicU16::new(server),
            allowance: Mutex::new(None),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&faults)));
        Self { port, faults, _accepting: accepting }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts another server on 127.0.0.1 behind the proxy, as when a virtual address moves. Connections that are open keep the
    /// server that they have.
    pub fn retarget(&self, server: u16) {
        self.faults.server.store(server, Ordering::SeqCst);
    }

    /// Cuts every connection at once, with a reset. New ones are accepted.
    pub fn cut(&self) {
        self.change(|weather| weather.cuts += 1);
    }

    /// Lets this many more bytes reach clients in all, then cuts the connection that carries the next one.
    pub fn cut_after(&self, bytes: usize) {
        *self.faults.allowance.lock().expect("nothing panics while it holds the lock") = Some(bytes);
    }

    /// Cuts every open connection and every later one, as if the server were gone, until [`Self::heal`].
    pub fn go_down(&self) {
        self.change(|weather| {
            weather.cuts += 1;
            weather.is_down = true;
        });
    }

    /// Passes nothing on in either direction; connections stay open, new ones too. What is sent meanwhile arrives after
    /// [`Self::heal`].
    pub fn black_hole(&self) {
        self.change(|weather| weather.is_black_hole = true);
    }

    /// Holds up whatever is passed on by this time, in each direction, until [`Self::heal`].
    pub fn delay(&self, delay: Duration) {
        self.change(|weather| weather.delay = delay);
    }

    /// Half-closes every connection: the client reads the end, and can still write.
    pub fn half_close(&self) {
        self.change(|weather| weather.half_closes += 1);
    }

    /// Forwards again.
    pub fn heal(&self) {
        self.change(|weather| {
            *weather = Weather { cuts: weather.cuts, half_closes: weather.half_closes, ..Weather::default() };
        });
        *self.faults.allowance.lock().expect("nothing panics while it holds the lock") = None;
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.faults.weather.send_modify(change);
    }
}

async fn accept(listener: TcpListener, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An error means that the client disconnected before it was accepted.
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, Arc::clone(&faults)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(mut client: TcpStream, faults: Arc<Faults>) {
    let server = (Ipv4Addr::LOCALHOST, faults.server.load(Ordering::SeqCst));
    let mut weather = faults.weather.subscribe();
    let found = weather.borrow().clone();
    if !found.is_down
        && let Ok(mut server) = TcpStream::connect(server).await
    {
        for socket in [&client, &server] {
            // Bytes pass at once, without waiting for more.
            let _ = socket.set_nodelay(true);
        }
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let ended = tokio::select! {
            _ = weather.wait_for(|now| now.cuts != found.cuts) => Err(io::ErrorKind::ConnectionReset.into()),
            ended = async { tokio::try_join!(
                pump(from_client, to_server, &faults, Toward::Server),
                pump(from_server, to_client, &faults, Toward::Client),
            ) } => ended,
        };
        if ended.is_ok() {
            return;
        }
    }
    // Closed with a reset: an error on one side must not look like an orderly end on the other.
    let _ = client.set_zero_linger();
}

#[derive(Clone, Copy, PartialEq)]
enum Toward {
    Server,
    Client,
}

/// Passes bytes on in one direction, until its end. An error means that the connection is cut.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    faults: &Faults,
    toward: Toward,
) -> io::Result<()> {
    let mut weather = faults.weather.subscribe();
    let half_closes = weather.borrow().half_closes;
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read?,
            _ = weather.wait_for(|now| now.half_closes != half_closes), if toward == Toward::Client => 0,
        };
        // If the sender is gone, the proxy was dropped, and this task is too.
        let delay = weather.wait_for(|now| !now.is_black_hole).await.map_or(Duration::ZERO, |now| now.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        let allowed = if toward == Toward::Client { faults.allow(read) } else { read };
        to.write_all(&chunk[..allowed]).await?;
        if allowed < read {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

impl Faults {
    /// How many of these bytes may pass.
    fn allow(&self, bytes: usize) -> usize {
        let mut allowance = self.allowance.lock().expect("nothing panics while it holds the lock");
        match *allowance {
            None => bytes,
            Some(left) if left >= bytes => {
                *allowance = Some(left - bytes);
                bytes
            }
            // The cut happens once.
            Some(left) => {
                *allowance = None;
                left
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, through a proxy, and a connection to it.
    async fn echo() -> (Proxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(port).await;
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(say(&mut client, b"hello").await.unwrap(), b"hello");
        (proxy, client, server)
    }

    async fn say(client: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_open_and_nothing_else() {
        let (proxy, mut client, _server) = echo().await;
        proxy.cut();
        assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(say(&mut client, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn who_comes_after_a_move_meets_the_other_server() {
        let (proxy, mut client, _server) = echo().await;
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        proxy.retarget(other.local_addr().unwrap().port());
        assert_eq!(say(&mut client, b"still").await.unwrap(), b"still", "what is open stays where it is");
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        let (mut server, _) = other.accept().await.unwrap();
        server.write_all(b"other").await.unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"other");
    }

    #[tokio::test]
    async fn a_cut_after_some_bytes_lets_exactly_those_through() {
        let (proxy, mut client, _server) = echo().await;
        proxy.cut_after(7);
        assert_eq!(say(&mut client, b"12345").await.unwrap(), b"12345");
        client.write_all(b"67890").await.unwrap();
        let mut rest = Vec::new();
        let ended = client.read_to_end(&mut rest).await;
        // A reset may overtake the last bytes, but nothing beyond them arrives.
        assert!(ended.is_err() && b"67".starts_with(&rest), "{rest:?}");
    }

    #[tokio::test]
    async fn a_proxy_that_is_down_cuts_clients_until_it_heals() {
        let (proxy, mut client, _server) = echo().await;
        proxy.go_down();
        assert!(client.read(&mut [0]).await.is_err());
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()));
        if let Ok(mut client) = connect().await {
            assert!(say(&mut client, b"anybody?").await.is_err());
        }
        proxy.heal();
        assert_eq!(say(&mut connect().await.unwrap(), b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn what_a_black_hole_took_arrives_once_it_heals() {
        let (proxy, mut client, _server) = echo().await;
        proxy.black_hole();
        client.write_all(b"lost?").await.unwrap();
        let mut answer = [0; 5];
        let glimpse = tokio::time::timeout(Duration::from_millis(100), client.read(&mut answer)).await;
        assert!(glimpse.is_err());
        proxy.heal();
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"lost?");
    }

    #[tokio::test]
    async fn a_half_closed_connection_ends_for_its_reader() {
        let (proxy, mut client, _server) = echo().await;
        proxy.half_close();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(b"still listening?").await.unwrap();
    }

    #[tokio::test]
    async fn a_delay_holds_up_what_passes() {
        let (proxy, mut client, _server) = echo().await;
        proxy.delay(Duration::from_millis(50));
        let asked = tokio::time::Instant::now();
        assert_eq!(say(&mut client, b"slow").await.unwrap(), b"slow");
        assert!(asked.elapsed() >= Duration::from_millis(100), "there and back");
    }
}
