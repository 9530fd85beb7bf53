//! The number that a client sees when a request fails.
//!
//! Numbers and names are those of `iggy_common` 0.11.0 (`IggyError`), so that published clients
//! rebuild their own error from the number alone; a test compares the whole table. The situations
//! in which Weir uses each are listed in `docs/wire.md`.

use core::fmt;

/// A status of a reply: 0 is success, everything else an error number of the Iggy protocol.
///
/// A reply with a non-zero status has an empty body. Stable: numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every error this crate has a name for, in ascending order of its number.
            pub const ALL: &'static [(&'static str, Self)] =
                &[$((stringify!($name), Self::$name),)*];
        }
    };
}

statuses! {
    /// Nothing more specific fits; also what a client shows for a number it does not know.
    ERROR = 1;
    /// The server's configuration does not allow the request.
    INVALID_CONFIGURATION = 2;
    /// A command code or operation that this server does not know.
    INVALID_COMMAND = 3;
    /// The body does not parse as the command it claims to be.
    INVALID_FORMAT = 4;
    /// A command of the protocol that this server does not serve.
    FEATURE_UNAVAILABLE = 5;
    /// An identifier is neither a number nor a name of 1 to 255 bytes of UTF-8.
    INVALID_IDENTIFIER = 6;
    /// The peer's version cannot be served.
    INVALID_VERSION = 7;
    /// The connection to the other side is gone.
    DISCONNECTED = 8;
    /// A resource named by a key does not exist.
    RESOURCE_NOT_FOUND = 20;
    /// The client missed its heartbeats and was evicted.
    STALE_CLIENT = 30;
    /// The request needs a login and the connection has none.
    UNAUTHENTICATED = 40;
    /// The user may not do this.
    UNAUTHORIZED = 41;
    /// Unknown user name or wrong password; which one is not said.
    INVALID_CREDENTIALS = 42;
    /// A user name outside 3 to 50 bytes.
    INVALID_USERNAME = 43;
    /// A password outside 3 to 100 bytes.
    INVALID_PASSWORD = 44;
    /// A user status other than active (1) or inactive (2).
    INVALID_USER_STATUS = 45;
    /// A user of this name exists.
    USER_ALREADY_EXISTS = 46;
    /// The user exists and may not log in.
    USER_INACTIVE = 47;
    /// This user (the root user) cannot be deleted.
    CANNOT_DELETE_USER = 48;
    /// This user's permissions (the root user's) cannot be changed.
    CANNOT_CHANGE_PERMISSIONS = 49;
    /// A token name outside 3 to 30 bytes.
    INVALID_PERSONAL_ACCESS_TOKEN_NAME = 50;
    /// The user has a token of this name.
    PERSONAL_ACCESS_TOKEN_ALREADY_EXISTS = 51;
    /// The user has as many tokens as allowed.
    PERSONAL_ACCESS_TOKENS_LIMIT_REACHED = 52;
    /// No such token.
    INVALID_PERSONAL_ACCESS_TOKEN = 53;
    /// The token was valid once.
    PERSONAL_ACCESS_TOKEN_EXPIRED = 54;
    /// As many users as allowed exist.
    USERS_LIMIT_REACHED = 55;
    /// A token expiry that cannot be represented.
    INVALID_PERSONAL_ACCESS_TOKEN_EXPIRY = 56;
    /// Busy, and the request may or may not take effect later: the client sends the same frame
    /// again after 50 ms, for up to 30 s. Only for requests that may be applied twice unharmed.
    TRANSIENT_NOT_COMMITTED = 57;
    /// Busy, and the request certainly had no effect: the client sends the same frame again after
    /// 50 ms, for up to 30 s. The answer of a full mailbox or a full queue.
    TRANSIENT_NOT_ACCEPTED = 58;
    /// The request took effect earlier and its reply is gone.
    REQUEST_ALREADY_APPLIED = 59;
    /// A size field does not fit what it describes.
    INVALID_SIZE_BYTES = 80;
    /// A name or text is not UTF-8.
    INVALID_UTF8 = 81;
    /// A number cannot be decoded.
    INVALID_NUMBER_ENCODING = 82;
    /// A flag is neither 0 nor 1.
    INVALID_BOOLEAN_VALUE = 83;
    /// A number is outside its range.
    INVALID_NUMBER_VALUE = 84;
    /// No connected client has this id.
    CLIENT_NOT_FOUND = 100;
    /// A client id of 0.
    INVALID_CLIENT_ID = 101;
    /// The connection was closed while the request ran.
    CONNECTION_CLOSED = 206;
    /// A stream could not be created for a reason on the server's side.
    CANNOT_CREATE_STREAM = 1006;
    /// A stream could not be deleted for a reason on the server's side.
    CANNOT_DELETE_STREAM = 1007;
    /// No stream has this id or name (writes; a read answers an empty body instead).
    STREAM_ID_NOT_FOUND = 1009;
    /// No stream has this name.
    STREAM_NAME_NOT_FOUND = 1010;
    /// A stream of this name exists.
    STREAM_NAME_ALREADY_EXISTS = 1012;
    /// A stream name outside 1 to 255 bytes.
    INVALID_STREAM_NAME = 1013;
    /// A stream id that cannot exist.
    INVALID_STREAM_ID = 1014;
    /// The maximum topic size is smaller than a segment.
    INVALID_TOPIC_SIZE = 1019;
    /// As many streams as allowed exist.
    TOO_MANY_STREAMS = 1020;
    /// A topic could not be created for a reason on the server's side.
    CANNOT_CREATE_TOPIC = 2006;
    /// A topic could not be deleted for a reason on the server's side.
    CANNOT_DELETE_TOPIC = 2007;
    /// No topic of the stream has this id or name (writes; a read answers an empty body instead).
    TOPIC_ID_NOT_FOUND = 2010;
    /// No topic of the stream has this name.
    TOPIC_NAME_NOT_FOUND = 2011;
    /// The stream has a topic of this name.
    TOPIC_NAME_ALREADY_EXISTS = 2013;
    /// A topic name outside 1 to 255 bytes.
    INVALID_TOPIC_NAME = 2014;
    /// More partitions in one request, or in one topic, than allowed.
    TOO_MANY_PARTITIONS = 2015;
    /// A topic id that cannot exist.
    INVALID_TOPIC_ID = 2016;
    /// A replication factor other than what a single server can give.
    INVALID_REPLICATION_FACTOR = 2018;
    /// A partition count of 0, or more than exist when deleting.
    INVALID_PARTITIONS_COUNT = 2019;
    /// As many topics as allowed exist in the stream.
    TOO_MANY_TOPICS = 2021;
    /// A partition could not be created for a reason on the server's side.
    CANNOT_CREATE_PARTITION = 3000;
    /// The topic has no partition of this id.
    PARTITION_NOT_FOUND = 3007;
    /// The topic has no partitions at all.
    NO_PARTITIONS = 3008;
    /// The topic has reached its maximum size and nothing may be removed.
    TOPIC_FULL = 3009;
    /// The consumer has stored no offset (deleting; a read answers an empty body instead).
    CONSUMER_OFFSET_NOT_FOUND = 3021;
    /// A named consumer is unknown.
    NOT_RESOLVED_CONSUMER = 3022;
    /// As many consumers as allowed have stored offsets in the partition.
    TOO_MANY_CONSUMER_OFFSETS = 3024;
    /// No such segment.
    SEGMENT_NOT_FOUND = 4000;
    /// A segment size outside the allowed range.
    INVALID_SEGMENT_SIZE = 4002;
    /// The batch could not be written.
    CANNOT_SAVE_MESSAGES_TO_SEGMENT = 4006;
    /// A batch without messages, or with another count than it announced.
    INVALID_MESSAGES_COUNT = 4009;
    /// The partition is fenced after a failed write or sync and takes no more messages until the
    /// server is restarted. Not retried by clients.
    CANNOT_APPEND_MESSAGE = 4010;
    /// A stored message could not be read.
    CANNOT_READ_MESSAGE = 4011;
    /// User headers of more than 100,000 bytes.
    TOO_BIG_USER_HEADERS = 4017;
    /// A payload of more than 64,000,000 bytes.
    TOO_BIG_MESSAGE_PAYLOAD = 4022;
    /// More messages in one batch than allowed.
    TOO_MANY_MESSAGES = 4023;
    /// A message without payload.
    EMPTY_MESSAGE_PAYLOAD = 4024;
    /// A payload length that runs past the batch.
    INVALID_MESSAGE_PAYLOAD_LENGTH = 4025;
    /// A message's checksum does not match its bytes.
    INVALID_MESSAGE_CHECKSUM = 4027;
    /// A partitioning key outside 1 to 255 bytes, or a partition id that is not four bytes.
    INVALID_KEY_VALUE_LENGTH = 4028;
    /// A producer sent an offset, which only the server gives.
    NON_ZERO_OFFSET = 4031;
    /// A producer sent an append timestamp, which only the server gives.
    NON_ZERO_TIMESTAMP = 4032;
    /// The batch length is not the sum of its parts.
    INVALID_MESSAGES_SIZE = 4036;
    /// A message that ends before its own header does.
    TOO_SMALL_MESSAGE = 4037;
    /// A message's time is too far from the batch's.
    INVALID_MESSAGE_TIMESTAMP_DELTA = 4038;
    /// The batch's checksum does not match its bytes.
    INVALID_BATCH_CHECKSUM = 4039;
    /// An option key that no topic option has.
    UNSUPPORTED_OPTION_KEY = 4041;
    /// An option value outside its range.
    INVALID_OPTION_VALUE = 4042;
    /// More options, or more bytes of options, than allowed.
    OPTIONS_BLOCK_TOO_LARGE = 4043;
    /// An offset beyond the end of the partition.
    INVALID_OFFSET = 4100;
    /// A reserved field is not zero.
    INVALID_RESERVED_FIELD = 4101;
    /// No consumer group of the topic has this id or name.
    CONSUMER_GROUP_ID_NOT_FOUND = 5000;
    /// A consumer group id that cannot exist.
    INVALID_CONSUMER_GROUP_ID = 5002;
    /// No consumer group of the topic has this name.
    CONSUMER_GROUP_NAME_NOT_FOUND = 5003;
    /// The topic has a consumer group of this name.
    CONSUMER_GROUP_NAME_ALREADY_EXISTS = 5004;
    /// A consumer group name outside 1 to 255 bytes.
    INVALID_CONSUMER_GROUP_NAME = 5005;
    /// The client is no member of the group.
    CONSUMER_GROUP_MEMBER_NOT_FOUND = 5006;
    /// The member does not own the partition at the group's current generation.
    CONSUMER_GROUP_PARTITION_NOT_OWNED = 5009;
    /// A resource could not be written by the server.
    CANNOT_SERIALIZE_RESOURCE = 10000;
    /// A stored resource could not be understood by the server.
    CANNOT_DESERIALIZE_RESOURCE = 10001;
    /// The server's disk refused a write.
    CANNOT_WRITE_TO_FILE = 10006;
    /// The server's disk refused a sync: what was written is not durable.
    CANNOT_SYNC_FILE = 10009;
    /// A message to another shard was lost, which is a fault of the server.
    SHARD_COMMUNICATION_ERROR = 11001;
    /// The request took longer than allowed.
    TASK_TIMEOUT = 12001;
    /// The server's disk or network failed.
    IO_ERROR = 13000;
    /// The connection is logged in already.
    ALREADY_AUTHENTICATED = 14000;
    /// The session number is not the one that login gave.
    INVALID_SESSION = 14001;
    /// The client's protocol version is outside the accepted window.
    INCOMPATIBLE_PROTOCOL_VERSION = 14003;
}

impl Status {
    /// Success. A reply of status 0 may still carry a failed result in its result section.
    pub const OK: Self = Self(0);

    /// Whether this is success.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether published clients send the same frame again on their own (57 and 58).
    #[must_use]
    pub const fn is_retried_by_clients(self) -> bool {
        matches!(
            self,
            Self::TRANSIENT_NOT_COMMITTED | Self::TRANSIENT_NOT_ACCEPTED
        )
    }

    /// The name of the number, `"UNKNOWN"` for one without a name here.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self.is_ok() {
            return "OK";
        }
        match Self::ALL.binary_search_by_key(&self, |(_, status)| *status) {
            Ok(index) => Self::ALL.get(index).map_or("UNKNOWN", |(name, _)| *name),
            Err(_) => "UNKNOWN",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0, self.name())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Status({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iggy_common::IggyError;
    use std::string::ToString;

    #[test]
    fn numbers_and_names_are_those_of_the_published_error_table() {
        for (name, status) in Status::ALL {
            let published = IggyError::from_code_as_string(status.0);
            assert_eq!(published, name.to_lowercase(), "{status}");
        }
    }

    #[test]
    fn table_is_sorted_so_that_names_are_found() {
        assert!(Status::ALL.is_sorted_by(|(_, first), (_, second)| first < second));
        assert_eq!(Status(58).to_string(), "58 TRANSIENT_NOT_ACCEPTED");
        assert_eq!(Status(0).to_string(), "0 OK");
        assert_eq!(Status(999_999).to_string(), "999999 UNKNOWN");
    }
}
