//! What the file says, by serde, before it is checked.
