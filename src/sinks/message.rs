//! The JSON object that line and broker sinks write for a message.
