//! The control plane of a session: runs the plans and the reads of [`super::control`].

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use wire::Status;
use wire::iggy::command::Command;

use super::control::{self, Decide, Plan, View};
use super::{ClientInfo, Login, Reply, Session, observe};
use crate::catalog::{Change, PartitionKey, PartitionStats};
use crate::control::{ControlReply, ControlRequest, ControlSnapshot, now_us};

type StatsMap = HashMap<PartitionKey, PartitionStats>;

impl Session {
    /// Everything but messages, offsets, login and logout.
    pub(super) async fn run_control(
        &mut self,
        login: Login,
        command: Command<'_>,
    ) -> Result<Reply, Status> {
        if let Some(answer) = self.read_control(login, &command).await {
            return answer.map(Reply::Payload);
        }
        match control::plan(command)? {
            Some(plan) => self.carry_out(login, plan).await,
            None => Err(Status::FEATURE_UNAVAILABLE),
        }
    }

    async fn read_control(
        &self,
        login: Login,
        command: &Command<'_>,
    ) -> Option<Result<Bytes, Status>> {
        // What is read is the state at one moment: partitions are counted before it is taken.
        let stats = if control::needs_stats(command) {
            stats_of(&self.shard.reports().await)
        } else {
            StatsMap::new()
        };
        let snapshot = self.shard.snapshot();
        let view = self.view(login, &snapshot, &stats);
        Some(match command {
            Command::GetMe => Ok(control::me(view, &self.info(login))),
            Command::GetClient(request) => {
                let clients = self.clients().await;
                let found = clients
                    .iter()
                    .find(|client| client.number == request.client_id);
                control::client(view, found)
            }
            Command::GetClients => control::clients(view, &self.clients().await),
            Command::GetClusterMetadata => {
                let machine = &self.shard.machine;
                let reached = |port| SocketAddr::new(self.local_ip, port);
                Ok(control::cluster_metadata(
                    reached(machine.tcp_address.port()),
                    reached(machine.websocket_address.port()),
                ))
            }
            Command::GetStats => {
                let process = observe::process(&self.shard, self.clients().await.len());
                control::stats(view, &process)
            }
            _ => return control::read(command, view),
        })
    }

    fn view<'a>(
        &self,
        login: Login,
        snapshot: &'a ControlSnapshot,
        stats: &'a StatsMap,
    ) -> View<'a> {
        View {
            catalog: &snapshot.catalog,
            groups: &snapshot.groups,
            stats,
            topic_defaults: self.shard.limits.catalog.topic_defaults,
            user_id: login.user_id,
            client_id: self.number,
        }
    }

    async fn clients(&self) -> Vec<ClientInfo> {
        self.shard
            .reports()
            .await
            .into_iter()
            .flat_map(|report| report.clients)
            .collect()
    }

    fn info(&self, login: Login) -> ClientInfo {
        ClientInfo {
            number: self.number,
            user_id: login.user_id,
            transport: self.transport,
            address: self.address.to_string(),
        }
    }

    async fn carry_out(&mut self, login: Login, plan: Plan) -> Result<Reply, Status> {
        match plan {
            Plan::Change(decide) => {
                let change = self.change(login, decide).await?;
                let snapshot = self.shard.snapshot();
                Ok(Reply::Payload(control::changed(&change, &snapshot.catalog)))
            }
            Plan::CreateToken { decide, token } => {
                self.change(login, decide).await?;
                Ok(Reply::Payload(control::token_created(&token)))
            }
            Plan::Password(plan) => {
                let hashing = {
                    let snapshot = self.shard.snapshot();
                    let limits = &self.shard.limits.catalog;
                    plan.check(&snapshot.catalog.decide(limits, login.user_id, now_us()))?
                };
                let hashed = self.shard.password_checks.run(move || hashing.run()).await;
                let change = self.change(login, hashed.ok_or(Status::ERROR)??).await?;
                let snapshot = self.shard.snapshot();
                Ok(Reply::Payload(control::changed(&change, &snapshot.catalog)))
            }
            Plan::Join(decide) => {
                self.in_groups = true;
                let (user_id, client) = (login.user_id, self.number);
                self.shard
                    .control_request(ControlRequest::Join {
                        user_id,
                        client,
                        decide,
                    })
                    .await?;
                Ok(Reply::Empty)
            }
            Plan::Leave(decide) => {
                let (user_id, client) = (login.user_id, self.number);
                let request = ControlRequest::Leave {
                    user_id,
                    client,
                    decide,
                };
                self.shard.control_request(request).await?;
                Ok(Reply::Empty)
            }
            Plan::Purge(decide) => self.purge(login, decide).await,
            Plan::DeleteSegments {
                decide,
                segments_count,
            } => {
                let key = {
                    let snapshot = self.shard.snapshot();
                    let limits = &self.shard.limits.catalog;
                    decide(&snapshot.catalog.decide(limits, login.user_id, now_us()))?
                };
                self.shard.delete_segments(key, segments_count).await?;
                Ok(Reply::Empty)
            }
        }
    }

    async fn change(&self, login: Login, decide: Decide<Change>) -> Result<Change, Status> {
        let request = ControlRequest::Change {
            user_id: login.user_id,
            decide,
        };
        match self.shard.control_request(request).await? {
            ControlReply::Changed(change) => Ok(change),
            ControlReply::Done => Err(Status::ERROR),
        }
    }

    async fn purge(
        &self,
        login: Login,
        decide: Decide<Vec<PartitionKey>>,
    ) -> Result<Reply, Status> {
        let keys = {
            let snapshot = self.shard.snapshot();
            let limits = &self.shard.limits.catalog;
            decide(&snapshot.catalog.decide(limits, login.user_id, now_us()))?
        };
        for key in keys {
            self.shard.purge(key).await?;
        }
        Ok(Reply::Empty)
    }
}

fn stats_of(reports: &[crate::shard::event::ShardReport]) -> StatsMap {
    let partitions = reports.iter().flat_map(|report| &report.partitions);
    partitions
        .map(|(key, report)| (*key, report.stats))
        .collect()
}
