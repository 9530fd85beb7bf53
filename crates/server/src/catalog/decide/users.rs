//! Decisions about users and their personal access tokens.
//!
//! Passwords are hashed by the caller, off the shard: first the `check_…` function, then the
//! hash, then the decision. The state may have changed in between; the decision checks again.

use std::fmt;
use std::sync::Arc;

use wire::Status;

use super::super::Identifier;
use super::super::change::Change;
use super::super::limits::{
    PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, TOKEN_NAME_BYTES_MAX, TOKEN_NAME_BYTES_MIN,
    USERNAME_BYTES_MAX, USERNAME_BYTES_MIN,
};
use super::super::model::{Catalog, ROOT_USER_ID, User, UserStatus};
use super::super::permissions::Permissions;
use super::{Decider, check_room};

/// A user to be created, after the password was hashed.
#[derive(Clone)]
pub struct NewUser<'a> {
    /// 3 to 50 bytes.
    pub username: &'a str,
    /// Argon2id in PHC string form.
    pub password_hash: Arc<str>,
    /// Whether they may log in.
    pub status: UserStatus,
    /// What they may do.
    pub permissions: Option<Permissions>,
}

/// Hashes stay out of logs and panic messages.
impl fmt::Debug for NewUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What changes about a user; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserUpdate<'a> {
    /// 3 to 50 bytes.
    pub username: Option<&'a str>,
    /// Whether they may log in.
    pub status: Option<UserStatus>,
}

impl Catalog {
    /// The root user of a catalog without one: active, and may do everything.
    ///
    /// # Errors
    /// `INVALID_USERNAME`, or `USER_ALREADY_EXISTS` when there is a root user.
    pub fn decide_root_user(
        &self,
        username: &str,
        password_hash: Arc<str>,
        now_us: u64,
    ) -> Result<Change, Status> {
        if self.users.contains_key(&ROOT_USER_ID) {
            return Err(Status::USER_ALREADY_EXISTS);
        }
        Ok(Change::CreateUser {
            user_id: ROOT_USER_ID,
            username: check_username(username)?,
            password_hash,
            status: UserStatus::Active,
            permissions: None,
            created_at_us: now_us,
        })
    }
}

impl Decider<'_> {
    /// Whether a user could be created, before the password is hashed.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `INVALID_USERNAME`, `INVALID_PASSWORD`, `USER_ALREADY_EXISTS`,
    /// `USERS_LIMIT_REACHED`.
    pub fn check_create_user(&self, username: &str, password: &str) -> Result<(), Status> {
        self.may_manage_users()?;
        check_username(username)?;
        check_password(password)?;
        self.check_new_user(username)
    }

    /// A new user.
    ///
    /// # Errors
    /// As [`Self::check_create_user`], and `INVALID_CONFIGURATION` when the permissions name
    /// more streams and topics than allowed.
    pub fn create_user(&self, user: NewUser<'_>) -> Result<Change, Status> {
        self.may_manage_users()?;
        let username = check_username(user.username)?;
        self.check_new_user(&username)?;
        self.check_permissions(user.permissions.as_ref())?;
        Ok(Change::CreateUser {
            user_id: self.catalog.next_user_id,
            username,
            password_hash: user.password_hash,
            status: user.status,
            permissions: user.permissions,
            created_at_us: self.now_us,
        })
    }

    /// Another name or status for a user.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, `UNAUTHORIZED` (also for anyone but the root user who would change
    /// the root user), `INVALID_USERNAME`, `USER_ALREADY_EXISTS`, and `INVALID_USER_STATUS` for a
    /// root user who would be made inactive.
    pub fn update_user(
        &self,
        user: Identifier<'_>,
        update: UserUpdate<'_>,
    ) -> Result<Change, Status> {
        self.may_manage_users()?;
        let user = self.require_user(user)?;
        self.protect_root(user, Status::UNAUTHORIZED)?;
        let username = match update.username {
            Some(username) => check_username(username)?,
            None => user.username.clone(),
        };
        if self
            .catalog
            .user_ids
            .get(&username)
            .is_some_and(|owner| *owner != user.id)
        {
            return Err(Status::USER_ALREADY_EXISTS);
        }
        let status = update.status.unwrap_or(user.status);
        if user.is_root() && status != UserStatus::Active {
            return Err(Status::INVALID_USER_STATUS);
        }
        Ok(Change::UpdateUser {
            user_id: user.id,
            username,
            status,
        })
    }

    /// Other permissions for a user.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, `UNAUTHORIZED`, `CANNOT_CHANGE_PERMISSIONS` for the root user,
    /// `INVALID_CONFIGURATION` for too many entries.
    pub fn update_permissions(
        &self,
        user: Identifier<'_>,
        permissions: Option<Permissions>,
    ) -> Result<Change, Status> {
        self.may_manage_users()?;
        let user = self.require_user(user)?;
        if user.is_root() {
            return Err(Status::CANNOT_CHANGE_PERMISSIONS);
        }
        self.check_permissions(permissions.as_ref())?;
        Ok(Change::UpdatePermissions {
            user_id: user.id,
            permissions,
        })
    }

    /// The user whose password is to change, before the current one is verified and the new one
    /// hashed. Everyone may change their own; the current password is asked for in any case.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_PASSWORD`.
    pub fn check_change_password(
        &self,
        user: Identifier<'_>,
        new_password: &str,
    ) -> Result<Arc<User>, Status> {
        let user = self.require_user(user)?;
        if user.id != self.user_id {
            self.may_manage_users()?;
            self.protect_root(user, Status::UNAUTHORIZED)?;
        }
        check_password(new_password)?;
        Ok(user.clone())
    }

    /// Another password for a user, when `checked` (whose current password was verified) is still
    /// what the catalog has.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, `UNAUTHORIZED`, and `INVALID_CREDENTIALS` when the password was
    /// changed meanwhile.
    pub fn change_password(
        &self,
        checked: &User,
        new_password_hash: Arc<str>,
    ) -> Result<Change, Status> {
        let user = self.require_user(Identifier::Number(checked.id))?;
        if user.id != self.user_id {
            self.may_manage_users()?;
        }
        if user.password_hash != checked.password_hash {
            return Err(Status::INVALID_CREDENTIALS);
        }
        Ok(Change::ChangePassword {
            user_id: user.id,
            password_hash: new_password_hash,
        })
    }

    /// The end of a user and of their tokens.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, `UNAUTHORIZED`, `CANNOT_DELETE_USER` for the root user.
    pub fn delete_user(&self, user: Identifier<'_>) -> Result<Change, Status> {
        self.may_manage_users()?;
        let user = self.require_user(user)?;
        if user.is_root() {
            return Err(Status::CANNOT_DELETE_USER);
        }
        Ok(Change::DeleteUser { user_id: user.id })
    }

    /// A new personal access token of the asking user, valid for `expiry_us` microseconds.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when the user is gone, `INVALID_PERSONAL_ACCESS_TOKEN_NAME`,
    /// `PERSONAL_ACCESS_TOKEN_ALREADY_EXISTS`, `PERSONAL_ACCESS_TOKENS_LIMIT_REACHED`,
    /// `INVALID_PERSONAL_ACCESS_TOKEN_EXPIRY` when the expiry cannot be represented.
    pub fn create_token(
        &self,
        name: &str,
        token_hash: Arc<str>,
        expiry_us: Option<u64>,
    ) -> Result<Change, Status> {
        let user = self.asking_user()?;
        if !(TOKEN_NAME_BYTES_MIN..=TOKEN_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(Status::INVALID_PERSONAL_ACCESS_TOKEN_NAME);
        }
        if user.tokens.contains_key(name) || self.catalog.tokens.contains_key(&token_hash) {
            return Err(Status::PERSONAL_ACCESS_TOKEN_ALREADY_EXISTS);
        }
        let full = Status::PERSONAL_ACCESS_TOKENS_LIMIT_REACHED;
        check_room(user.tokens.len(), self.limits.tokens_per_user_max, full)?;
        let invalid_expiry = Status::INVALID_PERSONAL_ACCESS_TOKEN_EXPIRY;
        let expiry_at_us = match expiry_us {
            None => None,
            Some(after_us) => Some(self.now_us.checked_add(after_us).ok_or(invalid_expiry)?),
        };
        Ok(Change::CreateToken {
            user_id: user.id,
            name: name.into(),
            token_hash,
            expiry_at_us,
        })
    }

    /// The end of a personal access token of the asking user.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when the user is gone, `RESOURCE_NOT_FOUND`.
    pub fn delete_token(&self, name: &str) -> Result<Change, Status> {
        let user = self.asking_user()?;
        let token = user.tokens.get(name).ok_or(Status::RESOURCE_NOT_FOUND)?;
        Ok(Change::DeleteToken {
            user_id: user.id,
            name: token.name.clone(),
        })
    }

    fn asking_user(&self) -> Result<&User, Status> {
        self.catalog
            .users
            .get(&self.user_id)
            .map(AsRef::as_ref)
            .ok_or(Status::UNAUTHENTICATED)
    }

    fn require_user(&self, user: Identifier<'_>) -> Result<&Arc<User>, Status> {
        self.catalog.user(user).ok_or(Status::RESOURCE_NOT_FOUND)
    }

    /// Only the root user touches the root user: otherwise a user manager could take over.
    fn protect_root(&self, user: &User, refusal: Status) -> Result<(), Status> {
        if user.is_root() && self.user_id != ROOT_USER_ID {
            Err(refusal)
        } else {
            Ok(())
        }
    }

    fn check_new_user(&self, username: &str) -> Result<(), Status> {
        if self.catalog.user_ids.contains_key(username) {
            return Err(Status::USER_ALREADY_EXISTS);
        }
        let users_max = self.limits.users_max;
        check_room(
            self.catalog.users.len(),
            users_max,
            Status::USERS_LIMIT_REACHED,
        )?;
        let ids_max = u32::MAX as usize;
        check_room(
            self.catalog.next_user_id as usize,
            ids_max,
            Status::USERS_LIMIT_REACHED,
        )
    }

    fn check_permissions(&self, permissions: Option<&Permissions>) -> Result<(), Status> {
        let count = permissions.map_or(0, Permissions::entries_count);
        if count > self.limits.permission_entries_max {
            return Err(Status::INVALID_CONFIGURATION);
        }
        Ok(())
    }
}

/// A user name of 3 to 50 bytes.
///
/// # Errors
/// `INVALID_USERNAME`.
pub fn check_username(username: &str) -> Result<Arc<str>, Status> {
    if !(USERNAME_BYTES_MIN..=USERNAME_BYTES_MAX).contains(&username.len()) {
        return Err(Status::INVALID_USERNAME);
    }
    Ok(username.into())
}

/// `Ok` for a password of 3 to 100 bytes.
///
/// # Errors
/// `INVALID_PASSWORD`.
pub fn check_password(password: &str) -> Result<(), Status> {
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(Status::INVALID_PASSWORD);
    }
    Ok(())
}
