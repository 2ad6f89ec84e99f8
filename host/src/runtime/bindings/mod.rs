//! One module per released version of the contract. The newest one's types are what the host works with
//! (`manifest::declared` and [`super::WayOut`]); an older version is a thin shim that maps onto them.

pub(super) mod v0_1;
