//! From a request that changes something to a decision that shard 0 can make.

use std::sync::Arc;

use wire::Status;
use wire::iggy::command::Command;
use wire::iggy::published::requests::personal_access_tokens::CreatePersonalAccessTokenRequest;
use wire::iggy::published::requests::users::{ChangePasswordRequest, CreateUserRequest};

use super::names::identifier;
use super::options::{parse, refuse_all};
use super::permissions::{permissions, user_status};
use crate::catalog::{Change, Decider, GroupKey, NewUser, PartitionKey, User, UserUpdate};
use crate::password;

/// A decision as a value: runs on shard 0 against the state at that time.
pub(crate) type Decide<T> = Box<dyn FnOnce(&Decider<'_>) -> Result<T, Status> + Send>;

/// What has to happen for a request.
pub(crate) enum Plan {
    /// Decide, journal, apply; the reply is [`super::changed`].
    Change(Decide<Change>),
    /// As `Change`; the reply is [`super::token_created`] with the token, which is shown once.
    CreateToken {
        decide: Decide<Change>,
        token: String,
    },
    /// Hash or verify a password off the shard first, then as `Change`.
    Password(PasswordPlan),
    /// Decide the group and how many partitions it shares out, then join; the reply is empty.
    Join(Decide<(GroupKey, u32)>),
    /// Decide the group, then leave; the reply is empty.
    Leave(Decide<(GroupKey, u32)>),
    /// Decide the partitions, then remove all their messages; the reply is empty.
    Purge(Decide<Vec<PartitionKey>>),
    /// Decide the partition, then remove this many of its oldest sealed segments; the reply is
    /// empty.
    DeleteSegments {
        decide: Decide<PartitionKey>,
        segments_count: u32,
    },
}

/// The plan for a command that changes the catalog or a membership; `None` for any other.
///
/// # Errors
/// What is wrong with the request in any state of the catalog.
pub(crate) fn plan(command: Command<'_>) -> Result<Option<Plan>, Status> {
    Ok(Some(match command {
        Command::CreateStream(_)
        | Command::UpdateStream(_)
        | Command::DeleteStream(_)
        | Command::CreateTopic(_)
        | Command::UpdateTopic(_)
        | Command::DeleteTopic(_)
        | Command::CreatePartitions(_)
        | Command::DeletePartitions(_) => Plan::Change(plan_streams_and_topics(command)?),
        Command::PurgeStream(_) | Command::PurgeTopic(_) => Plan::Purge(plan_purge(command)),
        Command::DeleteSegments(request) => Plan::DeleteSegments {
            segments_count: request.segments_count,
            decide: Box::new(move |decider| {
                let stream = identifier(&request.stream_id);
                let topic = identifier(&request.topic_id);
                decider.delete_segments(stream, topic, request.partition_id)
            }),
        },
        Command::CreateConsumerGroup(_)
        | Command::DeleteConsumerGroup(_)
        | Command::JoinConsumerGroup(_)
        | Command::LeaveConsumerGroup(_) => plan_groups(command),
        Command::CreateUser(_)
        | Command::UpdateUser(_)
        | Command::DeleteUser(_)
        | Command::UpdatePermissions(_)
        | Command::ChangePassword(_)
        | Command::CreatePersonalAccessToken(_)
        | Command::DeletePersonalAccessToken(_) => plan_users(command)?,
        _ => return Ok(None),
    }))
}

fn plan_streams_and_topics(command: Command<'_>) -> Result<Decide<Change>, Status> {
    Ok(match command {
        Command::CreateStream(request) => {
            refuse_all(&request.options)?;
            Box::new(move |decider| decider.create_stream(&request.name))
        }
        Command::UpdateStream(request) => {
            refuse_all(&request.options)?;
            Box::new(move |decider| {
                decider.update_stream(identifier(&request.stream_id), &request.name)
            })
        }
        Command::DeleteStream(request) => {
            Box::new(move |decider| decider.delete_stream(identifier(&request.stream_id)))
        }
        Command::CreateTopic(request) => {
            let options = parse(&request.options)?;
            Box::new(move |decider| {
                let stream = identifier(&request.stream_id);
                decider.create_topic(stream, &request.name, request.partitions_count, &options)
            })
        }
        Command::UpdateTopic(request) => {
            let options = parse(&request.options)?;
            Box::new(move |decider| {
                let stream = identifier(&request.stream_id);
                let topic = identifier(&request.topic_id);
                decider.update_topic(stream, topic, &request.name, &options)
            })
        }
        Command::DeleteTopic(request) => Box::new(move |decider| {
            decider.delete_topic(
                identifier(&request.stream_id),
                identifier(&request.topic_id),
            )
        }),
        Command::CreatePartitions(request) => Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            let topic = identifier(&request.topic_id);
            decider.create_partitions(stream, topic, request.partitions_count)
        }),
        Command::DeletePartitions(request) => Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            let topic = identifier(&request.topic_id);
            decider.delete_partitions(stream, topic, request.partitions_count)
        }),
        _ => return Err(Status::INVALID_COMMAND),
    })
}

fn plan_purge(command: Command<'_>) -> Decide<Vec<PartitionKey>> {
    match command {
        Command::PurgeStream(request) => {
            Box::new(move |decider| decider.purge_stream(identifier(&request.stream_id)))
        }
        Command::PurgeTopic(request) => Box::new(move |decider| {
            decider.purge_topic(
                identifier(&request.stream_id),
                identifier(&request.topic_id),
            )
        }),
        _ => Box::new(|_| Err(Status::INVALID_COMMAND)),
    }
}

fn plan_groups(command: Command<'_>) -> Plan {
    match command {
        Command::CreateConsumerGroup(request) => Plan::Change(Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            decider.create_group(stream, identifier(&request.topic_id), &request.name)
        })),
        Command::DeleteConsumerGroup(request) => Plan::Change(Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            let topic = identifier(&request.topic_id);
            decider.delete_group(stream, topic, identifier(&request.group_id))
        })),
        Command::JoinConsumerGroup(request) => Plan::Join(Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            let topic = identifier(&request.topic_id);
            decider.usable_group(stream, topic, identifier(&request.group_id))
        })),
        Command::LeaveConsumerGroup(request) => Plan::Leave(Box::new(move |decider| {
            let stream = identifier(&request.stream_id);
            let topic = identifier(&request.topic_id);
            decider.usable_group(stream, topic, identifier(&request.group_id))
        })),
        _ => Plan::Change(Box::new(|_| Err(Status::INVALID_COMMAND))),
    }
}

fn plan_users(command: Command<'_>) -> Result<Plan, Status> {
    Ok(match command {
        Command::CreateUser(request) => {
            refuse_all(&request.options)?;
            user_status(request.status)?;
            Plan::Password(PasswordPlan::Create(request))
        }
        Command::ChangePassword(request) => Plan::Password(PasswordPlan::Change(request)),
        Command::UpdateUser(request) => {
            refuse_all(&request.options)?;
            let status = request.status.map(user_status).transpose()?;
            Plan::Change(Box::new(move |decider| {
                let update = UserUpdate {
                    username: request.username.as_deref(),
                    status,
                };
                decider.update_user(identifier(&request.user_id), update)
            }))
        }
        Command::DeleteUser(request) => Plan::Change(Box::new(move |decider| {
            decider.delete_user(identifier(&request.user_id))
        })),
        Command::UpdatePermissions(request) => {
            let permissions = request.permissions.as_ref().map(permissions);
            Plan::Change(Box::new(move |decider| {
                decider.update_permissions(identifier(&request.user_id), permissions)
            }))
        }
        Command::CreatePersonalAccessToken(request) => plan_token(request)?,
        Command::DeletePersonalAccessToken(request) => {
            Plan::Change(Box::new(move |decider| decider.delete_token(&request.name)))
        }
        _ => return Err(Status::INVALID_COMMAND),
    })
}

/// An expiry of 0 ("the server's default") or `u64::MAX` is a token that never expires.
fn plan_token(request: CreatePersonalAccessTokenRequest) -> Result<Plan, Status> {
    let token = password::generate_token().map_err(|_| Status::ERROR)?;
    let token_hash: Arc<str> = password::hash_token(&token).into();
    let expiry_us = match request.expiry {
        0 | u64::MAX => None,
        expiry_us => Some(expiry_us),
    };
    let decide: Decide<Change> =
        Box::new(move |decider| decider.create_token(&request.name, token_hash, expiry_us));
    Ok(Plan::CreateToken { decide, token })
}

/// A request with a password in it: check, hash off the shard, decide.
pub(crate) enum PasswordPlan {
    /// A new user.
    Create(CreateUserRequest),
    /// Another password.
    Change(ChangePasswordRequest),
}

impl PasswordPlan {
    /// The first step, against this shard's snapshot: refuses what would be refused anyway,
    /// before any work is spent on it.
    ///
    /// # Errors
    /// As `check_create_user` and `check_change_password` of the decider.
    pub(crate) fn check(self, decider: &Decider<'_>) -> Result<Hashing, Status> {
        match self {
            Self::Create(request) => {
                decider.check_create_user(&request.username, &request.password)?;
                Ok(Hashing::Create(request))
            }
            Self::Change(request) => {
                let target = identifier(&request.user_id);
                let user = decider.check_change_password(target, &request.new_password)?;
                Ok(Hashing::Change { user, request })
            }
        }
    }
}

/// The second step: blocks for tens of milliseconds, so it runs off the shard.
pub(crate) enum Hashing {
    /// Hash the new user's password.
    Create(CreateUserRequest),
    /// Verify the current password of `user` and hash the new one.
    Change {
        /// The user as the check saw them.
        user: Arc<User>,
        /// The request.
        request: ChangePasswordRequest,
    },
}

impl Hashing {
    /// Hashes, and returns the decision that is left to make.
    ///
    /// # Errors
    /// `INVALID_CREDENTIALS` when the current password is wrong; `ERROR` when the system has no
    /// randomness or memory for the hash.
    pub(crate) fn run(self) -> Result<Decide<Change>, Status> {
        match self {
            Self::Create(request) => {
                let password_hash = hash(&request.password)?;
                let status = user_status(request.status)?;
                let permissions = request.permissions.as_ref().map(permissions);
                Ok(Box::new(move |decider| {
                    let username = &request.username;
                    decider.create_user(NewUser {
                        username,
                        password_hash,
                        status,
                        permissions,
                    })
                }))
            }
            Self::Change { user, request } => {
                if !password::verify(&request.current_password, Some(&user.password_hash)) {
                    return Err(Status::INVALID_CREDENTIALS);
                }
                let new_password_hash = hash(&request.new_password)?;
                Ok(Box::new(move |decider| {
                    decider.change_password(&user, new_password_hash)
                }))
            }
        }
    }
}

fn hash(password: &str) -> Result<Arc<str>, Status> {
    password::hash(password)
        .map(Arc::from)
        .map_err(|_| Status::ERROR)
}
