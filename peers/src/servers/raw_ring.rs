//! TCP echo on a bare ring, without a scheduler: each connection receives into provided buffers
//! all the time and sends those buffers back uncopied, in order, one send in flight.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Outcome;
use crate::ring::{Buffer, Completion, Ring};

const WAIT: Duration = Duration::from_secs(3600);

struct Connection {
    socket: OwnedFd,
    queue: VecDeque<Buffer>,
    receiving: bool,
    sending: bool,
    ended: bool,
}

struct Echo {
    ring: Ring,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// Who found no buffer: armed again when buffers are back.
    starved: Vec<u32>,
}

pub(super) fn echo() -> Outcome {
    let listener = super::listen()?;
    let mut echo = Echo {
        ring: Ring::new()?,
        connections: Vec::new(),
        free: Vec::new(),
        starved: Vec::new(),
    };
    echo.ring.accept(&listener)?;
    loop {
        echo.ring.wait(WAIT)?;
        while let Some(completion) = echo.ring.next_completion() {
            match completion {
                Completion::Accepted { socket, armed } => {
                    echo.open(socket?)?;
                    if !armed {
                        echo.ring.accept(&listener)?;
                    }
                }
                Completion::Received {
                    token,
                    buffer,
                    armed,
                } => echo.received(token, buffer, armed)?,
                Completion::Sent { token, sent_bytes } => echo.sent(token, sent_bytes.is_ok())?,
            }
        }
        for token in std::mem::take(&mut echo.starved) {
            echo.receive(token)?;
        }
    }
}

impl Echo {
    fn open(&mut self, socket: OwnedFd) -> io::Result<()> {
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let connection = Connection {
            socket,
            queue: VecDeque::new(),
            receiving: false,
            sending: false,
            ended: false,
        };
        let token = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() as u32 - 1
        });
        self.connections[token as usize] = Some(connection);
        self.receive(token)
    }

    fn receive(&mut self, token: u32) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[token as usize] {
            connection.receiving = true;
            self.ring.receive(&connection.socket, token)?;
        }
        Ok(())
    }

    fn received(
        &mut self,
        token: u32,
        buffer: io::Result<Option<Buffer>>,
        armed: bool,
    ) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token as usize] else {
            return Ok(());
        };
        connection.receiving = armed;
        match buffer {
            Ok(Some(buffer)) => {
                connection.queue.push_back(buffer);
                if !armed {
                    self.starved.push(token);
                }
            }
            Err(error) if Ring::is_passing(&error) => self.starved.push(token),
            Ok(None) | Err(_) => connection.ended = true,
        }
        self.go_on(token)
    }

    fn sent(&mut self, token: u32, well: bool) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[token as usize] {
            connection.sending = false;
            connection.ended |= !well;
        }
        self.go_on(token)
    }

    /// Sends what waits; forgets a connection that has ended and has nothing in flight.
    fn go_on(&mut self, token: u32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[token as usize] else {
            return Ok(());
        };
        if connection.sending {
            return Ok(());
        }
        if connection.ended {
            for buffer in connection.queue.drain(..) {
                self.ring.give_back(buffer);
            }
            if !connection.receiving {
                self.connections[token as usize] = None;
                self.free.push(token);
            }
        } else if !connection.queue.is_empty() {
            connection.sending = true;
            let (socket, queue) = (&connection.socket, &mut connection.queue);
            self.ring.send_buffers(socket, token, queue)?;
        }
        Ok(())
    }
}
