//! HTTP/1.1 on the data path: heads, the framing of bodies, and buffers that exist only while bytes move (RFC 9112). It knows
//! nothing of keys.
//!
//! | what | where |
//! |---|---|
//! | a head is read, and how its body is framed is decided | [`head_reader`], [`framing`] |
//! | a body is read, piece by piece, in every framing | [`body_reader`] |
//! | a head is written, and a body behind it | [`head_writer`], [`body_writer`] |
//! | what was read and not used yet, what waits to be written | [`input`], [`output`] |
//! | a client's end of a connection, and the body that is read from it | [`client_io`] |
//!
//! # A message, state by state
//!
//! Both directions go through the same states. Each side of an exchange is polled by the task of the client's connection, so
//! that no task wakes another, but for a body that goes upstream in HTTP/2.
//!
//! | state | ends with | RFC 9112 | what breaks it off |
//! |---|---|---|---|
//! | idle | the first byte of a head | 9.3 | the other side closes, a time limit |
//! | head | the empty line behind the fields | 2.1, 3, 4, 5 | a line that is none, a head that is too long, a close |
//! | body of a known length | its last byte | 6.2 | a close |
//! | body in chunks: size, data, line end, and again | the chunk of size 0 | 7.1 | a line that is none, a size that is too large, a close |
//! | trailers | the empty line behind them | 7.1.2 | as a head |
//! | body up to the close (of answers alone) | the close | 6.3 | an error of the connection |

pub mod body_reader;
pub mod body_writer;
pub mod client_io;
pub mod framing;
pub mod head_reader;
pub mod head_writer;
pub mod input;
pub mod output;
