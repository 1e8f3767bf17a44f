//! The language in which something is written for people.

use std::str::FromStr;

use utoipa::ToSchema;

/// The language of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Language {
    /// French.
    Fr,
    /// English.
    En,
}

/// A word that is no language here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not one of `fr`, `en`")]
pub struct UnknownLanguage(String);

impl FromStr for Language {
    type Err = UnknownLanguage;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fr" => Ok(Self::Fr),
            "en" => Ok(Self::En),
            other => Err(UnknownLanguage(other.to_owned())),
        }
    }
}

impl Language {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fr => "fr",
            Self::En => "en",
        }
    }

    /// The French or the English text.
    pub const fn pick(self, fr: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Fr => fr,
            Self::En => en,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for language in [Language::Fr, Language::En] {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        assert!("de".parse::<Language>().unwrap_err().to_string().contains("`fr`"));
    }
}
