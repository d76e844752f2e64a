//! Write a Millstream function in Rust: implement [`Function`] for a type of yours, name it in [`export!`], build the
//! crate as a `cdylib` for `wasm32-unknown-unknown`.
//!
//! ```
//! use millstream_guest::{Function, Message, Outcome, export};
//!
//! #[derive(Default)]
//! struct Shout;
//!
//! impl Function for Shout {
//!     fn process(&mut self, message: Message) -> Outcome {
//!         Outcome::replace(message.payload.to_ascii_uppercase())
//!     }
//! }
//!
//! export!(Shout);
//! ```
//!
//! What lives here: the types of `millstream:function@0.1.0` and the glue behind `export!`. What may not come in:
//! anything of the server, and any dependency that a guest would have to carry.

mod config;
mod message;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;

pub use config::Config;
pub use message::{Message, Outcome, Output, Rejection};

/// A function: one value of the implementing type for each instance that the server starts.
///
/// There may be several instances, and one that fails is replaced by a fresh one, so what a value remembers from
/// message to message is a cache and never the truth.
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

/// Makes a type the function of this module; see the crate's front page. Does nothing in a native build.
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

    $crate::bindings::export_pure!(Glue with_types_in $crate::bindings);
        };
    };
}
