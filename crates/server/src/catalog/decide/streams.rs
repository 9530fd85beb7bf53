//! Decisions about streams.

use wire::Status;

use super::super::Identifier;
use super::super::change::Change;
use super::super::key::PartitionKey;
use super::{Decider, check_name, check_room};

impl Decider<'_> {
    /// A new stream.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `INVALID_STREAM_NAME`, `STREAM_NAME_ALREADY_EXISTS`, `TOO_MANY_STREAMS`.
    pub fn create_stream(&self, name: &str) -> Result<Change, Status> {
        self.may_create_stream()?;
        let name = check_name(name, Status::INVALID_STREAM_NAME)?;
        if self.catalog.stream_ids.contains_key(&name) {
            return Err(Status::STREAM_NAME_ALREADY_EXISTS);
        }
        let count = self.catalog.streams.len();
        check_room(count, self.limits.streams_max, Status::TOO_MANY_STREAMS)?;
        let stream_id = self.catalog.next_stream_id;
        // The last number is never given out, so that "next" always exists.
        check_room(
            stream_id as usize,
            u32::MAX as usize,
            Status::TOO_MANY_STREAMS,
        )?;
        Ok(Change::CreateStream {
            stream_id,
            name,
            created_at_us: self.now_us,
            next_topic_id: 0,
        })
    }

    /// Another name for a stream; its own current name is fine.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_STREAM_NAME`,
    /// `STREAM_NAME_ALREADY_EXISTS`.
    pub fn update_stream(&self, stream: Identifier<'_>, name: &str) -> Result<Change, Status> {
        let stream = self.catalog.require_stream(stream)?;
        self.may_manage_stream(stream.id)?;
        let name = check_name(name, Status::INVALID_STREAM_NAME)?;
        if self
            .catalog
            .stream_ids
            .get(&name)
            .is_some_and(|owner| *owner != stream.id)
        {
            return Err(Status::STREAM_NAME_ALREADY_EXISTS);
        }
        Ok(Change::RenameStream {
            stream_id: stream.id,
            name,
        })
    }

    /// The end of a stream and of everything in it.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `UNAUTHORIZED`.
    pub fn delete_stream(&self, stream: Identifier<'_>) -> Result<Change, Status> {
        let stream = self.catalog.require_stream(stream)?;
        self.may_manage_stream(stream.id)?;
        Ok(Change::DeleteStream {
            stream_id: stream.id,
        })
    }

    /// The partitions to empty when a stream is purged; the catalog itself does not change.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `UNAUTHORIZED`.
    pub fn purge_stream(&self, stream: Identifier<'_>) -> Result<Vec<PartitionKey>, Status> {
        let stream = self.catalog.require_stream(stream)?;
        self.may_manage_stream(stream.id)?;
        Ok(stream
            .topics()
            .flat_map(|topic| topic.partition_keys(stream.id))
            .collect())
    }
}
