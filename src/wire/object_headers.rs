//! Headers that describe an object: read from a request into attributes, written to a response from them.
