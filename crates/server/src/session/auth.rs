//! Login and logout.

use wire::Status;
use wire::iggy::eviction::EvictionReason;
use wire::iggy::frame::RequestHeader;
use wire::iggy::login::{self, Credentials};
use wire::iggy::reply;

use super::{ClientInfo, Login, Outcome, Reply, Session};
use crate::catalog::{User, UserStatus};
use crate::control::{ControlRequest, now_us};
use crate::password;

impl Session {
    /// Checks the credentials off the shard. A failed login ends the session: published clients
    /// treat it so, and guessing gets no faster than reconnecting.
    pub(super) async fn log_in(
        &mut self,
        request: &RequestHeader,
        login: &login::Login<'_>,
    ) -> Outcome {
        let user_id = match &login.credentials {
            Credentials::Password { username, password } => {
                self.check_password(username, password).await
            }
            Credentials::Token(token) => self.check_token(token),
        };
        let user_id = match user_id {
            Ok(user_id) => user_id,
            Err(reason) => {
                tracing::debug!(connection = self.number, ?reason, "login refused");
                return Outcome::Evict(reason);
            }
        };
        // A second login replaces the first: memberships belong to the session that ends.
        self.leave_groups().await;
        // Unique for the life of the server and growing for one connection, never 0.
        self.logins += 1;
        let session_id = (u64::from(self.number) << 32) | self.logins;
        self.login = Some(Login {
            user_id,
            session_id,
        });
        self.shard.register_client(ClientInfo {
            number: self.number,
            user_id,
            transport: self.transport,
            address: self.address.to_string(),
        });
        let frame = reply::login(request, user_id, session_id, env!("CARGO_PKG_VERSION"));
        Outcome::Reply(Ok(Reply::Frame(vec![frame])))
    }

    async fn check_password(&self, username: &str, password: &str) -> Result<u32, EvictionReason> {
        let snapshot = self.shard.snapshot();
        let user = snapshot.catalog.user(username.into()).cloned();
        if let Some(user) = &user
            && self
                .shard
                .verified_passwords
                .contains(user.id, &user.password_hash, password)
        {
            return active(user);
        }
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let check = {
            let password = password.to_owned();
            move || password::verify(&password, hash.as_deref())
        };
        match (self.shard.password_checks.run(check).await, user) {
            (Some(true), Some(user)) => {
                self.shard
                    .verified_passwords
                    .insert(user.id, &user.password_hash, password);
                active(&user)
            }
            (None, _) => Err(EvictionReason::SessionError),
            _ => Err(EvictionReason::InvalidCredentials),
        }
    }

    fn check_token(&self, token: &str) -> Result<u32, EvictionReason> {
        let snapshot = self.shard.snapshot();
        let found = snapshot
            .catalog
            .token_user(&password::hash_token(token), now_us());
        match found {
            Ok(user) => active(user),
            Err(_) => Err(EvictionReason::InvalidToken),
        }
    }

    pub(super) async fn log_out(&mut self) -> Result<Reply, Status> {
        self.leave_groups().await;
        self.shard.forget_client(self.number);
        self.login = None;
        Ok(Reply::Empty)
    }

    /// Ends the memberships of this connection, if it may have any.
    pub(super) async fn leave_groups(&mut self) {
        if !std::mem::take(&mut self.in_groups) {
            return;
        }
        let request = ControlRequest::Disconnect {
            client: self.number,
        };
        if let Err(status) = self.shard.control_request_patiently(request).await {
            tracing::debug!(
                connection = self.number,
                ?status,
                "memberships were not ended"
            );
        }
    }
}

/// The user, if they may log in.
fn active(user: &User) -> Result<u32, EvictionReason> {
    match user.status {
        UserStatus::Active => Ok(user.id),
        UserStatus::Inactive => Err(EvictionReason::UserInactive),
    }
}
