//! What `wit-bindgen` makes of the WIT package; in a WebAssembly build only.

wit_bindgen::generate!({
    path: "../api/wit",
    world: "pure",
    with: { "millstream:function/types@0.1.0": crate::message },
    pub_export_macro: true,
    export_macro_name: "export_pure",
});
