//! From a frame to the handler of its command: one exhaustive match.

use bytes::BytesMut;
use wire::Status;
use wire::iggy::command::{self, Command, Rejection};
use wire::iggy::eviction::EvictionReason;
use wire::iggy::frame::{HEADER_BYTES, RequestHeader};

use super::{Login, Outcome, Reply, Session};

impl Session {
    /// Runs one request.
    pub(super) async fn dispatch(&mut self, request: &RequestHeader, frame: BytesMut) -> Outcome {
        let body = &frame[HEADER_BYTES..];
        if let Err(error) = request.verify_body(body) {
            return Outcome::Reply(Err(error.status()));
        }
        let command = match command::decode(request.operation, request.code, body) {
            Ok(command) => command,
            Err(Rejection::Status(status)) => return Outcome::Reply(Err(status)),
            Err(Rejection::Eviction(reason)) => return Outcome::Evict(reason),
        };
        if self.is_closed_out() && !matches!(command, Command::Login(_)) {
            return Outcome::Evict(EvictionReason::UserInactive);
        }
        let login = match (&command, self.login) {
            (Command::Ping, _) => return Outcome::Reply(Ok(Reply::Empty)),
            (Command::Login(login), _) => {
                return Box::pin(self.log_in(request, login)).await;
            }
            (_, None) => return Outcome::Reply(Err(Status::UNAUTHENTICATED)),
            (_, Some(login)) => login,
        };
        if request.session != 0 && request.session != login.session_id {
            return Outcome::Reply(Err(Status::UNAUTHENTICATED));
        }
        if let Command::SendMessages(send) = &command {
            let route = match self.route_send(login, send) {
                Ok(route) => route,
                Err(status) => return Outcome::Reply(Err(status)),
            };
            // The command's borrow of the frame ends here; the batch moves on in its buffer.
            return Outcome::Reply(self.send_messages(request, route, frame).await);
        }
        // Boxed, as the login: a connection that waits must not hold the room of all handlers.
        Outcome::Reply(Box::pin(self.run_command(request, login, command)).await)
    }

    /// Whether the user was deleted or made inactive since the login. The session ends with its
    /// next request, a heartbeat at the latest, and takes its group memberships along.
    fn is_closed_out(&self) -> bool {
        self.login
            .is_some_and(|login| !self.shard.snapshot().catalog.is_active(login.user_id))
    }

    /// Everything that needs a login and leaves the frame where it is.
    async fn run_command(
        &mut self,
        request: &RequestHeader,
        login: Login,
        command: Command<'_>,
    ) -> Result<Reply, Status> {
        match command {
            Command::Logout => self.log_out().await,
            Command::PollMessages(poll) => self.poll_messages(request, login, poll).await,
            Command::GetConsumerOffset(get) => self.get_offset(login, &get).await,
            Command::StoreConsumerOffset(store) => self.store_offset(login, &store).await,
            Command::DeleteConsumerOffset(delete) => self.delete_offset(login, &delete).await,
            Command::FlushUnsavedBuffer(flush) => self.flush(login, &flush),
            command => self.run_control(login, command).await,
        }
    }
}
