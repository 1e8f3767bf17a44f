//! A local Finkare.
