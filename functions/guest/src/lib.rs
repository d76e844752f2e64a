//! Write a Millstream function in Rust: its body, and nothing else.
//!
//! ```
//! use millstream_guest::prelude::*;
//!
//! function! { |message: Message| -> Outcome {
//!     Outcome::replace(message.payload.to_ascii_uppercase())
//! } }
//! ```
//!
//! A function that exists already is named: `function!(shout);`. It may answer anything that becomes an [`Outcome`],
//! such as `Result<Outcome, Rejection>`, so that `?` turns a message away. A function with a configuration, or one that
//! keeps something from message to message, implements [`Function`] and names its type in [`export!`]. Either way the
//! crate is a `cdylib`, built for `wasm32-unknown-unknown`.
//!
//! | for | see | the document needs |
//! |---|---|---|
//! | lines to log | [`log`] | nothing |
//! | what the function remembers | [`bucket`] | `state: {}` |
//! | what stations and buckets hold | [`stations`] | their names under `lookup:` |
//! | requests to other hosts | [`web`] | the hosts under `http:` |
//! | JSON | feature `json`, `Message::json` | nothing |
//! | Avro | feature `avro`, `avro::Schema` | nothing |
//! | Protobuf | feature `protobuf`, `Message::protobuf` | nothing |
//!
//! What a function does not call it does not import. A native build has no server: `cargo test` runs the same code
//! against [`testing`].
//!
//! What lives here: the types of `millstream:function@0.2.0`, the glue behind `function!` and `export!`, stand-ins for
//! tests. What may not come in: anything of the server, and any dependency that a guest did not ask for by a feature.

#[cfg(feature = "avro")]
pub mod avro;
pub mod bucket;
mod config;
mod error;
#[cfg(feature = "json")]
pub mod json;
pub mod log;
mod message;
#[cfg(feature = "protobuf")]
pub mod protobuf;
pub mod stations;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod web;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;

pub use config::Config;
pub use error::{CallError, Interface};
pub use message::{Message, Outcome, Output, Rejection};

/// Everything that a function usually needs.
pub mod prelude {
    pub use crate::{
        CallError, Config, Function, Message, Outcome, Output, Rejection, bucket, export, function,
        log, stations, web,
    };
}

/// A function: one value of the implementing type for each instance that the server starts.
///
/// There may be several instances, and one that fails is replaced by a fresh one, so what a value remembers from
/// message to message is a cache and never the truth; the truth is in its [`bucket`].
pub trait Function: Default + 'static {
    /// Called once before the first message, with the `config` of the function's document.
    ///
    /// # Errors
    /// A sentence for the person who deploys; the deployment is refused with it.
    fn configure(&mut self, config: &Config) -> Result<(), String> {
        config.none_left()
    }

    /// What becomes of one message. A panic here rejects this message and no other one.
    fn process(&mut self, message: Message) -> Outcome;
}

/// Makes a body, or a function by its name, the function of this module; see the crate's front page.
///
/// The body becomes `fn process(message: Message)` of the module that the macro stands in, for tests to call:
///
/// ```
/// use millstream_guest::prelude::*;
///
/// function! { |message: Message| -> Result<Outcome, Rejection> {
///     if message.payload.is_empty() {
///         return Err(Rejection::new("empty", "there is no payload"));
///     }
///     Ok(Outcome::Keep)
/// } }
///
/// # fn main() {
/// assert_eq!(process(Message::with_payload("x")), Ok(Outcome::Keep));
/// # }
/// ```
#[macro_export]
macro_rules! function {
    (|$message:ident : $type:ty| -> $answer:ty $body:block) => {
        /// What becomes of one message.
        pub fn process($message: $type) -> $answer $body

        $crate::function!(process);
    };
    ($function:path) => {
        const _: () = {
            #[derive(Default)]
            struct Body;

            impl $crate::Function for Body {
                fn process(&mut self, message: $crate::Message) -> $crate::Outcome {
                    ::std::convert::Into::into($function(message))
                }
            }

            $crate::export!(Body);
        };
    };
}

/// Makes a type the function of this module; see the crate's front page. Does nothing in a native build.
///
/// ```
/// use millstream_guest::prelude::*;
///
/// #[derive(Default)]
/// struct Sample {
///     every: u64,
///     seen: u64,
/// }
///
/// impl Function for Sample {
///     fn configure(&mut self, config: &Config) -> Result<(), String> {
///         self.every = config.get_or("every", 10)?;
///         config.none_left()
///     }
///
///     fn process(&mut self, _message: Message) -> Outcome {
///         self.seen += 1;
///         if self.seen % self.every == 0 { Outcome::Keep } else { Outcome::Drop }
///     }
/// }
///
/// export!(Sample);
/// ```
#[macro_export]
macro_rules! export {
    ($function:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            std::thread_local! {
                static FUNCTION: std::cell::RefCell<$function> =
                    std::cell::RefCell::new(<$function as Default>::default());
            }

            struct Glue;

            impl $crate::bindings::Guest for Glue {
                fn configure(config: Vec<(String, String)>) -> Result<(), String> {
                    let config = $crate::Config::new(config);
                    FUNCTION.with_borrow_mut(|it| $crate::Function::configure(it, &config))
                }

                fn process(batch: Vec<$crate::Message>) -> Vec<$crate::Outcome> {
                    FUNCTION.with_borrow_mut(|it| {
                        batch
                            .into_iter()
                            .map(|message| $crate::Function::process(it, message))
                            .collect()
                    })
                }
            }

    $crate::bindings::export_all!(Glue with_types_in $crate::bindings);
        };
    };
}
