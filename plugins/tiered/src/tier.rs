//! Which tier a collection is of, and why.

use longshore_plugin::time::format_duration;

use crate::Settings;

/// How much a collection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Written to lately.
    Hot,
    /// Not written to for a while.
    Warm,
    /// Not written to for long.
    Cold,
}

impl Tier {
    /// The word for it, in properties and reason codes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }

    fn named(text: &str) -> Option<Self> {
        let text = text.trim();
        [Self::Hot, Self::Warm, Self::Cold].into_iter().find(|tier| text.eq_ignore_ascii_case(tier.as_str()))
    }

    /// Hot goes first.
    pub(crate) const fn priority(self) -> i32 {
        match self {
            Self::Hot => 10,
            Self::Warm => 0,
            Self::Cold => -10,
        }
    }
}

/// A tier and what it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rating {
    pub(crate) tier: Tier,
    because: Because,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    Named,
    NamedBadly,
    Unwritten { ms: u64 },
    NotKnown,
}

impl Rating {
    /// What the property says, or else what the last write says. Where neither can be told the collection is hot: too
    /// many backups are a smaller mistake than too few.
    pub(crate) fn of(settings: &Settings, named: Option<&str>, ms_since_write: Option<u64>) -> Self {
        match (named, ms_since_write) {
            (Some(text), _) => match Tier::named(text) {
                Some(tier) => Self { tier, because: Because::Named },
                None => Self { tier: Tier::Hot, because: Because::NamedBadly },
            },
            (None, None) => Self { tier: Tier::Hot, because: Because::NotKnown },
            (None, Some(ms)) => {
                let tier = match ms {
                    _ if ms >= settings.cold_after_ms() => Tier::Cold,
                    _ if ms >= settings.warm_after_ms() => Tier::Warm,
                    _ => Tier::Hot,
                };
                Self { tier, because: Because::Unwritten { ms } }
            }
        }
    }

    /// A clause for a person: `it is cold: nobody wrote to it for 45 days`.
    pub(crate) fn explain(self, settings: &Settings) -> String {
        let (tier, property) = (self.tier.as_str(), &settings.tier_property);
        match self.because {
            Because::Named => format!("{property} says that it is {tier}"),
            Because::NamedBadly => format!("{property} is none of hot, warm and cold, so it counts as {tier}"),
            Because::Unwritten { ms } if self.tier == Tier::Hot => {
                format!("it is {tier}: the last write is {} ago", format_duration(ms))
            }
            Because::Unwritten { ms } => format!("it is {tier}: nobody wrote to it for {}", format_duration(ms)),
            Because::NotKnown => format!("its last write is not known, so it counts as {tier}"),
        }
    }
}
