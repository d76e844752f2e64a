//! What `wit-bindgen` makes of the WIT package; in a WebAssembly build only.
//!
//! World `all`, for every function: what a function does not call is not imported by its module, and the wrapping
//! into a component leaves out what the module does not import. `functions/host/tests/toolchains.rs` holds it to that.

wit_bindgen::generate!({
    path: "../api/wit",
    world: "all",
    with: {
        "millstream:function/types@0.2.0": crate::message,
        "millstream:function/stations@0.2.0/entry": crate::stations::Entry,
        "millstream:function/web@0.2.0/request": crate::web::Request,
        "millstream:function/web@0.2.0/response": crate::web::Response,
    },
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_all",
});
