//! The contract, as wit-bindgen makes Rust of it.

#![allow(missing_docs)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "connector",
    pub_export_macro: true,
    export_macro_name: "export_component",
});
