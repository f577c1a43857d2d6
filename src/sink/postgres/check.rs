//! check
use crate::config::{Diagnostic, SinkConfig};
use crate::sink::SinkProjection;

pub async fn check(_config: &SinkConfig, _owner: Option<&str>, _projections: &[SinkProjection]) -> Vec<Diagnostic> { Vec::new() }
