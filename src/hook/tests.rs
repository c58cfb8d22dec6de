//! The sandbox, held against guests that behave badly.
