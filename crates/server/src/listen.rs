//! The listening sockets: one a shard for each transport, all on the same address.
//!
//! The kernel spreads connections over sockets that share an address (`SO_REUSEPORT`). That option
//! would also let a second server of the same user share the port unnoticed, so the first socket
//! is bound without it, which fails when anyone listens there, and gets the option only then.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{RELEASE_PATIENCE, RELEASE_PAUSE};

/// Binds `count` sockets to one address; port 0 picks a free port for all of them.
///
/// # Errors
/// What `bind` or `listen` say, for example `AddrInUse`.
pub(crate) fn bind(
    address: SocketAddr,
    count: usize,
    backlog: i32,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = bind_first(address)?;
    first.set_reuse_port(true)?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the bound address is not an internet address"))?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        sockets.push(next);
    }
    let mut listeners = Vec::with_capacity(count);
    for socket in sockets {
        socket.listen(backlog)?;
        listeners.push(TcpListener::from(socket));
    }
    Ok((bound, listeners))
}

fn bind_first(address: SocketAddr) -> io::Result<Socket> {
    let deadline = Instant::now() + RELEASE_PATIENCE;
    loop {
        let socket = socket(address)?;
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(socket),
            Err(error)
                if error.kind() != io::ErrorKind::AddrInUse || Instant::now() >= deadline =>
            {
                return Err(error);
            }
            Err(_) => std::thread::sleep(RELEASE_PAUSE),
        }
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run in TIME_WAIT; a listening socket
    // still refuses.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn every_shard_gets_a_socket_on_the_same_port() {
        let (address, listeners) = bind(loopback(), 3, 16).expect("port 0 is free");
        assert_ne!(address.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().expect("it is bound"), address);
        }
    }

    #[test]
    fn a_port_of_another_server_is_refused_although_it_shares_its_own() {
        let (address, _held) = bind(loopback(), 2, 16).expect("port 0 is free");
        let error = bind(address, 2, 16).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn connections_reach_more_than_one_socket() {
        let (address, listeners) = bind(loopback(), 2, 256).expect("port 0 is free");
        let held: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(address).expect("the backlog has room"))
            .collect();
        let accepted: Vec<usize> = listeners
            .iter()
            .map(|listener| {
                listener.set_nonblocking(true).expect("the socket is ours");
                std::iter::from_fn(|| listener.accept().ok()).count()
            })
            .collect();
        assert_eq!(accepted.iter().sum::<usize>(), held.len());
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    }
}
