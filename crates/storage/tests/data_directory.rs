//! Whose directory it is: locks, markers, and what is refused.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use common::*;
use storage::{DataDirectory, Error, data_directory::FORMAT};

const EACCES: i32 = 13;
const EROFS: i32 = 30;

#[test]
fn a_missing_directory_is_created_and_an_own_one_taken_again() {
    on_each_driver(async |disk, directory| {
        let path = directory.join("a/b/data");
        let data = DataDirectory::open(disk.clone(), &path).await.unwrap();
        assert_eq!(data.path(), path);
        assert_eq!(
            data.file_path("catalog.journal"),
            path.join("catalog.journal")
        );
        let partition = data.create_partition(1, 2, 3).await.unwrap();
        assert_eq!(partition, path.join("streams/1/topics/2/partitions/3"));
        assert_eq!(data.create_partition(1, 2, 3).await.unwrap(), partition);
        assert!(partition.is_dir());
        drop(data);
        let marker = fs::read_to_string(path.join("weir.format")).unwrap();
        assert_eq!(marker, format!("weir data directory\nformat {FORMAT}\n"));
        DataDirectory::open(disk, &path).await.unwrap();
    });
}

#[test]
fn a_second_user_is_refused_by_name_until_the_first_is_gone() {
    on_each_driver(async |disk, directory| {
        let first = DataDirectory::open(disk.clone(), &directory).await.unwrap();
        match DataDirectory::open(disk.clone(), &directory).await {
            Err(error @ Error::Locked { process_id, .. }) => {
                assert_eq!(process_id, Some(std::process::id()));
                let expected = format!("in use by process {}", std::process::id());
                assert!(error.to_string().contains(&expected));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        DataDirectory::open(disk, &directory).await.unwrap();
    });
}

#[test]
fn a_killed_process_does_not_leave_its_lock_behind() {
    on_each_driver(async |disk, directory| {
        drop(DataDirectory::open(disk.clone(), &directory).await.unwrap());
        // Another process holds the lock until it is killed.
        let mut holder = Command::new("flock")
            .arg("--no-fork")
            .arg(directory.join("weir.lock"))
            .args(["sh", "-c", "echo locked; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "locked\n");
        let opened = DataDirectory::open(disk.clone(), &directory).await;
        assert!(matches!(opened, Err(Error::Locked { .. })));
        holder.kill().unwrap();
        holder.wait().unwrap();
        let data = loop {
            // The kernel drops the lock when it has torn the process down.
            match DataDirectory::open(disk.clone(), &directory).await {
                Err(Error::Locked { .. }) => until(|| true).await,
                other => break other.unwrap(),
            }
        };
        drop(data);
    });
}

#[test]
fn a_directory_with_other_files_is_not_touched() {
    on_each_driver(async |disk, directory| {
        fs::write(directory.join("thesis.tex"), b"x").unwrap();
        let opened = DataDirectory::open(disk.clone(), &directory).await;
        assert!(matches!(opened, Err(Error::Foreign { path }) if path == directory));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let file = directory.join("thesis.tex");
        assert!(matches!(
            DataDirectory::open(disk, &file).await,
            Err(Error::Io { .. })
        ));
    });
}

#[test]
fn an_unfinished_first_start_is_taken_up() {
    on_each_driver(async |disk, directory| {
        fs::write(directory.join("weir.lock"), b"1").unwrap();
        fs::write(directory.join("weir.format.new"), b"we").unwrap();
        DataDirectory::open(disk, &directory).await.unwrap();
    });
}

#[test]
fn markers_that_are_newer_or_not_understood_are_refused() {
    on_each_driver(async |disk, directory| {
        let marker = directory.join("weir.format");
        fs::write(
            &marker,
            format!("weir data directory\nformat {}\n", FORMAT + 1),
        )
        .unwrap();
        match DataDirectory::open(disk.clone(), &directory).await {
            Err(Error::NewerFormat {
                path,
                found,
                supported,
            }) => {
                assert_eq!(
                    (path, found, supported),
                    (directory.clone(), FORMAT + 1, FORMAT)
                );
            }
            other => panic!("{other:?}"),
        }
        for text in [
            "",
            "weir data directory\n",
            "weir data directory\nformat x\n",
            "other\n",
        ] {
            fs::write(&marker, text).unwrap();
            let opened = DataDirectory::open(disk.clone(), &directory).await;
            assert!(matches!(opened, Err(Error::Corrupted(_))), "{text:?}");
        }
    });
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_as_such() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        for error in [EROFS, EACCES] {
            disk.script.lock_error.set(Some(error));
            match DataDirectory::open(disk.clone(), &directory).await {
                Err(Error::ReadOnly { path, .. }) => assert_eq!(path, directory),
                other => panic!("{other:?}"),
            }
        }
    });
}
