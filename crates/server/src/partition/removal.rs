//! Files of partitions that are deleted: they go, or at least nobody finds them any more.
//!
//! The catalog gives the number of a deleted partition to a new one. Should its files resist, their
//! directory gets another name, so that the new partition does not begin with the messages of the
//! old one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use storage::disk::{self, Disk as _};
use storage::layout;

use super::{Storage, system};
use crate::catalog::{Catalog, PartitionKey};

/// How the name of a partition's directory ends that was deleted and could not be removed.
const REMOVED_SUFFIX: &str = ".removed";

impl Storage {
    /// Removes the files of a partition that the catalog no longer knows. What cannot be removed
    /// now is set aside, where a new partition of the same number does not find it, and tried again
    /// at the next start. [`Self::sync_removed`] makes it durable.
    pub(crate) async fn remove_partition(&self, key: PartitionKey) {
        let directory = self.partition_directory(key);
        if let Err(error) = self.remove_or_set_aside(&directory).await {
            tracing::error!(partition = %key, %error, "files of a deleted partition are left");
            self.left.borrow_mut().insert(key);
        }
    }

    async fn remove_or_set_aside(&self, directory: &Path) -> Result<(), storage::Error> {
        let removed = disk::remove_directory_with_files(&self.disk, directory).await;
        let Err(error) = removed else {
            return Ok(());
        };
        let mut aside = directory.as_os_str().to_owned();
        aside.push(format!(".{:016x}{REMOVED_SUFFIX}", self.disk.random()));
        tracing::warn!(directory = %directory.display(), %error, "set aside, not removed");
        self.disk
            .rename(directory, Path::new(&aside))
            .await
            .map_err(|error| system("rename", directory, error))
    }

    /// What is left of earlier partitions of these numbers must be gone before new ones are made.
    pub(super) async fn clear_for(&self, keys: &[PartitionKey]) -> Result<(), storage::Error> {
        for key in keys {
            if self.left.borrow().contains(key) {
                let directory = self.partition_directory(*key);
                self.remove_or_set_aside(&directory).await?;
                self.left.borrow_mut().remove(key);
            }
        }
        Ok(())
    }

    /// Makes the removal of these partitions durable: their numbers may be used again.
    pub(crate) async fn sync_removed(&self, keys: &[PartitionKey]) {
        let topics: BTreeSet<_> = keys
            .iter()
            .map(|key| layout::topic_directory(key.stream_id, key.topic_id))
            .collect();
        for topic in topics {
            let directory = self.root.join(topic).join(layout::PARTITIONS);
            match self.disk.sync_directory(&directory).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(directory = %directory.display(), %error,
                        "the removal of partitions is not durable");
                }
                _ => {}
            }
        }
    }

    /// Removes what is left of a topic, or of a stream without one, once its partitions are gone.
    pub(crate) async fn remove_remains(&self, stream_id: u32, topic_id: Option<u32>) {
        let directory = match topic_id {
            Some(topic_id) => layout::topic_directory(stream_id, topic_id),
            None => layout::stream_directory(stream_id),
        };
        let directory = self.root.join(directory);
        if let Err(error) = disk::remove_directories(&self.disk, &directory).await {
            tracing::warn!(directory = %directory.display(), %error, "left until the next start");
        }
    }

    /// Removes partitions that a crash left behind after their deletion was journalled. Directories
    /// of streams and topics that are gone go with them.
    pub(crate) async fn remove_orphans(&self, catalog: &Catalog) -> Result<(), storage::Error> {
        let streams = self.root.join("streams");
        for (stream_id, stream) in self.numbered(&streams).await? {
            let topics = stream.join("topics");
            for (topic_id, topic) in self.numbered(&topics).await? {
                let partitions = topic.join("partitions");
                self.remove_aside(&partitions).await?;
                for (partition_id, partition) in self.numbered(&partitions).await? {
                    let key = PartitionKey::new(stream_id, topic_id, partition_id);
                    if !catalog.contains_partition(&key) {
                        tracing::info!(partition = %key, "removing what a deletion left");
                        self.remove_or_set_aside(&partition).await?;
                        let synced = self.disk.sync_directory(&partitions).await;
                        synced.map_err(|error| system("sync directory", &partitions, error))?;
                    }
                }
                if catalog.topic(stream_id.into(), topic_id.into()).is_none() {
                    self.remove_orphan(&topic).await;
                }
            }
            if catalog.stream(stream_id.into()).is_none() {
                self.remove_orphan(&stream).await;
            }
        }
        Ok(())
    }

    /// Tries again to remove what was set aside.
    async fn remove_aside(&self, partitions: &Path) -> Result<(), storage::Error> {
        for entry in self.listed(partitions).await? {
            if entry.is_directory && entry.name.ends_with(REMOVED_SUFFIX) {
                self.remove_orphan(&partitions.join(&entry.name)).await;
            }
        }
        Ok(())
    }

    /// Removes what no partition will be found in.
    async fn remove_orphan(&self, directory: &Path) {
        tracing::info!(directory = %directory.display(), "removing what a deletion left");
        if let Err(error) = disk::remove_directories(&self.disk, directory).await {
            tracing::warn!(directory = %directory.display(), %error, "left until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{Disk, Partition, WriteChoice};
    use super::*;
    use crate::limits::Limits;

    /// Makes the removal of this file fail, or not any more; false where that is impossible.
    fn set_immutable(path: &Path, immutable: bool) -> bool {
        let option = if immutable { "+i" } else { "-i" };
        let changed = Command::new("chattr").arg(option).arg(path).output();
        changed.is_ok_and(|output| output.status.success())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("a name").file_name().into_string())
            .map(|name| name.expect("is text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_partition_does_not_find_what_could_not_be_removed_of_the_old_one() {
        let runtime = compio::runtime::Runtime::new().expect("a runtime starts");
        runtime.block_on(async {
            let root = tempfile::tempdir().expect("a directory");
            let storage = Storage::new(
                root.path().into(),
                Limits::default(),
                WriteChoice::default(),
            );
            let key = PartitionKey::new(1, 2, 3);
            let keys = [key];
            let created = || storage.create_directories(1, 2, &keys);
            created().await.expect("creates");
            let directory = root.path().join(layout::partition_directory(1, 2, 3));
            let old = directory.join("00000000000000000000.log");
            std::fs::write(&old, "messages of the old one").expect("writes");
            if !set_immutable(&old, true) {
                eprintln!("skipped: chattr +i works only as root, and not everywhere");
                return;
            }
            storage.remove_partition(key).await;
            storage.sync_removed(&[key]).await;
            created().await.expect("creates");
            assert_eq!(names(&directory), Vec::<String>::new());
            let partition = Partition::open(&storage, key, &Catalog::default()).await;
            let partition = partition.expect("opens");
            assert_eq!(partition.report().refusal, None);
            partition.close().await;

            // The next start tries again, and is not stopped when that fails.
            let partitions = directory.parent().expect("lies in its topic's");
            let aside = names(partitions).into_iter().find(|name| name != "3");
            let aside = partitions.join(aside.expect("is set aside"));
            storage
                .remove_orphans(&Catalog::default())
                .await
                .expect("goes on");
            assert_eq!(names(&aside).len(), 1);
            assert!(set_immutable(
                &aside.join("00000000000000000000.log"),
                false
            ));
            storage
                .remove_orphans(&Catalog::default())
                .await
                .expect("removes");
            assert_eq!(names(&root.path().join("streams")), Vec::<String>::new());
            let disk: &Disk = storage.disk();
            disk.drain().await;
        });
    }
}
