//! One plugin's place in a chain.

use std::fmt;
use std::sync::Arc;

use longshore_model::{Digest, PolicyKind};
use serde::{Deserialize, Serialize};

use crate::decision::DecidedBy;
use crate::settings::{Settings, SettingsSchema};
use crate::{Budget, GrantedFiles, Grants, Limits, Oracle, PolicyError, Shadow};

/// What happens to a run when a plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on as if the plugin had no opinion about anything. Not allowed for placement and required members.
    Skip,
}

/// A plugin in a chain, as the operator configured it.
#[derive(Clone)]
pub struct Member {
    /// Its name in the configuration; unique in the chain.
    pub name: String,
    /// The plugin.
    pub plugin: Arc<dyn Oracle>,
    /// Its settings: a JSON object valid under the schema that the plugin exports; `null` means `{}`. Settings are
    /// kept in decision records: they are no place for secrets.
    pub settings: serde_json::Value,
    /// What happens if it fails.
    pub on_failure: OnFailure,
    /// It must answer: it can never be skipped.
    pub required: bool,
    /// What one call may use.
    pub budget: Budget,
    /// What it may see beside the facts.
    pub grants: Grants,
    /// A candidate that is asked beside it and never acts.
    pub shadow: Option<Shadow>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = self.plugin.about();
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("plugin", &format_args!("{} {}", about.name, about.version))
            .field("on_failure", &self.on_failure)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// A member whose settings were accepted.
#[derive(Debug, Clone)]
pub(crate) struct AcceptedMember {
    pub(crate) member: Member,
    pub(crate) settings: Settings,
    pub(crate) shadow: Option<AcceptedShadow>,
    /// Copies of the files of its grants, for one run.
    files: Option<GrantedFiles>,
}

/// A shadow whose settings were accepted.
#[derive(Debug, Clone)]
pub(crate) struct AcceptedShadow {
    pub(crate) shadow: Shadow,
    pub(crate) settings: Settings,
}

impl AcceptedShadow {
    fn accept(kind: PolicyKind, member: &str, shadow: &Shadow, limits: &Limits) -> Result<Self, PolicyError> {
        let about = shadow.plugin.about();
        let name = format!("{member} (shadow)");
        if !shadow.plugin.serves(kind) {
            return Err(PolicyError::NotServed { kind, member: name, plugin: about.name.clone() });
        }
        let schema = SettingsSchema::parse(&about.name, &about.settings_schema, limits)?;
        let settings = schema.accept(&name, &shadow.settings, limits)?;
        Ok(Self { shadow: shadow.clone(), settings })
    }

    /// Who the candidate is, under the name of the member it is a candidate for.
    pub(crate) fn identity(&self, member: &str) -> DecidedBy {
        DecidedBy::of(member, self.shadow.plugin.as_ref())
    }
}

impl AcceptedMember {
    /// Checks a member against the rules of a chain and its plugin's schema.
    pub(crate) fn accept(kind: PolicyKind, member: Member, limits: &Limits) -> Result<Self, PolicyError> {
        check_name(kind, &member.name, limits)?;
        let plugin = &member.plugin.about().name;
        if !member.plugin.serves(kind) {
            return Err(PolicyError::NotServed { kind, member: member.name.clone(), plugin: plugin.clone() });
        }
        if member.on_failure == OnFailure::Skip {
            let why = match kind {
                PolicyKind::Placement => "data could end up in a region that the skipped policy rules out",
                _ if member.required => "it is marked required",
                _ => "",
            };
            if !why.is_empty() {
                return Err(PolicyError::SkipNotAllowed { kind, member: member.name, why });
            }
        }
        let schema = SettingsSchema::parse(plugin, &member.plugin.about().settings_schema, limits)?;
        let settings = schema.accept(&member.name, &member.settings, limits)?;
        if let Err(problem) = member.grants.check() {
            return Err(PolicyError::BadGrant { member: member.name, problem });
        }
        let shadow = member.shadow.as_ref();
        let shadow = shadow.map(|shadow| AcceptedShadow::accept(kind, &member.name, shadow, limits)).transpose()?;
        Ok(Self { member, settings, shadow, files: None })
    }

    /// The member for one run, with copies of the files of its grants.
    pub(crate) fn with_files(&self, files: GrantedFiles) -> Result<Self, PolicyError> {
        if !self.member.grants.fit(&files) {
            let problem = "the files that were read are not those of its grants".to_owned();
            return Err(PolicyError::BadGrant { member: self.member.name.clone(), problem });
        }
        Ok(Self { files: Some(files), ..self.clone() })
    }

    /// The files it may read in this run.
    ///
    /// # Errors
    /// [`PolicyError::BadGrant`] if there are grants and nobody has read them: without its files a member could decide
    /// otherwise and nobody would know.
    pub(crate) fn files(&self) -> Result<&GrantedFiles, PolicyError> {
        match &self.files {
            Some(files) => Ok(files),
            None if self.member.grants.is_empty() => Ok(GrantedFiles::none()),
            None => Err(PolicyError::BadGrant {
                member: self.member.name.clone(),
                problem: "its granted directories were not read for this run".to_owned(),
            }),
        }
    }

    /// Who the member is, as kept with its decisions.
    pub(crate) fn identity(&self) -> DecidedBy {
        DecidedBy::of(&self.member.name, self.member.plugin.as_ref())
    }

    /// Digest of the settings in canonical form.
    pub(crate) const fn settings_digest(&self) -> Digest {
        self.settings.digest
    }
}

/// A member's name is a word that can stand in a path, a log line and a table.
fn check_name(kind: PolicyKind, name: &str, limits: &Limits) -> Result<(), PolicyError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let bad = |problem: String| {
        let member = name.chars().take(80).flat_map(char::escape_debug).collect();
        Err(PolicyError::BadMemberName { kind, member, problem })
    };
    if name.is_empty() || name.len() > limits.member_name_bytes {
        return bad(format!("a name has 1 to {} bytes", limits.member_name_bytes));
    }
    if !name.bytes().all(plain) {
        return bad("a name has ASCII letters, digits, hyphens and underscores only".to_owned());
    }
    Ok(())
}
