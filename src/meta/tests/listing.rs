//! Tests to come with the next commit of this module.
