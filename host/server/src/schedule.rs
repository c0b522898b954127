//! Schedules as the API spells them: Zilliz Cloud's backup policies, and cron expressions.

use longshore_engine::{DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS, ScheduleChange, ScheduleView, ScheduledCopy};
use longshore_engine::{SetSchedule, Starts};
use longshore_model::RegionId;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::code;
use crate::fields::Fields;
use crate::forms;
use crate::meaning::sentence;
use crate::replies::seconds_or_null;

/// The body of a `POST …/backups/policy`. A policy that is turned off needs nothing else, and clients send anything with
/// it. The guide says `crossRegionPolicies` where the reference says `crossRegionCopies`; Terraform sends `null` for none.
pub(crate) fn set_schedule(body: &Value) -> Result<SetSchedule, Refusal> {
    let body = Fields::body(body, forms::SET_POLICY)?;
    let Some(enabled) = body.boolean("enabled")? else {
        return Err(Refusal::bad(code::INVALID_FIELD, "`enabled` is missing; it must be true or false."));
    };
    if !enabled {
        return Ok(SetSchedule::Off);
    }
    let retention_days = retention(&body)?;
    Ok(SetSchedule::On(ScheduleChange {
        days: parsed(&body, "frequency", code::FREQUENCY)?,
        window: parsed(&body, "startTime", code::START_TIME)?,
        cron: parsed(&body, "cron", code::FREQUENCY)?,
        retention_days,
        copies: copies(&body, retention_days.unwrap_or(DEFAULT_RETENTION_DAYS))?,
    }))
}

/// A text that is a value of its own.
fn parsed<T: std::str::FromStr<Err = String>>(body: &Fields<'_>, name: &str, code: u32) -> Result<Option<T>, Refusal> {
    let text = body.text(name).map_err(|refusal| refusal.with_code(code))?;
    let parsed = text.map(str::parse::<T>).transpose();
    parsed.map_err(|what| Refusal::bad(code, format!("`{}`: {}", body.place(name), sentence(&what))))
}

fn retention(body: &Fields<'_>) -> Result<Option<u32>, Refusal> {
    let days = body.integer("retentionDays").map_err(|refusal| refusal.with_code(code::RETENTION_DAYS))?;
    let Some(days) = days else { return Ok(None) };
    let days = u32::try_from(days).ok().filter(|days| (1..=MAX_RETENTION_DAYS).contains(days));
    days.map(Some).ok_or_else(|| {
        let place = body.place("retentionDays");
        Refusal::bad(code::RETENTION_DAYS, format!("`{place}` must be a whole number of 1 to {MAX_RETENTION_DAYS}."))
    })
}

fn copies(body: &Fields<'_>, default_days: u32) -> Result<Option<Vec<ScheduledCopy>>, Refusal> {
    let Some(name) = ["crossRegionCopies", "crossRegionPolicies"].into_iter().find(|name| body.is_there(name)) else {
        return Ok(None);
    };
    let mut copies: Vec<ScheduledCopy> = Vec::new();
    for copy in body.objects(name)? {
        let region_id: RegionId = copy.text("regionId")?.unwrap_or_default().parse().map_err(|error| {
            Refusal::bad(code::REGION, format!("`{}`: {}", copy.place("regionId"), sentence(&error)))
        })?;
        copies.push(ScheduledCopy { region_id, retention_days: retention(&copy)?.unwrap_or(default_days) });
    }
    Ok(Some(copies))
}

/// `ENABLED` or `DISABLED`.
pub(crate) fn status(view: &ScheduleView) -> &'static str {
    if view.next_run.is_some() { "ENABLED" } else { "DISABLED" }
}

/// A schedule. One that is off says nothing about what it was.
pub(crate) fn reply(view: &ScheduleView) -> Value {
    let schedule = view.schedule.as_ref().filter(|_| view.next_run.is_some());
    let (days, window, cron) = match schedule.map(|schedule| &schedule.starts) {
        Some(Starts::Weekly { days, window }) => (Some(days.to_string()), Some(window.to_string()), None),
        Some(Starts::Cron(cron)) => (None, None, Some(cron.to_string())),
        None => (None, None, None),
    };
    let copies: Vec<Value> = schedule
        .iter()
        .flat_map(|schedule| &schedule.copies)
        .map(|copy| {
            json!({ "regionId": copy.region_id, "retentionDays": copy.retention_days, "region": copy.region_id })
        })
        .collect();
    json!({
        "clusterId": view.cluster_id,
        "status": status(view),
        "startTime": window,
        "frequency": days,
        "retentionDays": schedule.map_or(0, |schedule| schedule.retention_days),
        "crossRegionCopies": copies,
        "cron": cron,
        "nextRunTime": seconds_or_null(view.next_run),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn on(body: &Value) -> ScheduleChange {
        match set_schedule(body).unwrap() {
            SetSchedule::On(change) => change,
            SetSchedule::Off => unreachable!("{body}"),
        }
    }

    #[test]
    fn what_the_official_clients_send_is_understood() {
        let command_line = json!({
            "enabled": true, "frequency": "1,3,5", "startTime": "02:00-04:00", "retentionDays": 7, "crossRegionCopies": [],
        });
        let change = on(&command_line);
        assert_eq!(change.days.unwrap().to_string(), "1,3,5");
        assert_eq!(change.window.unwrap().to_string(), "02:00-04:00");
        assert_eq!((change.retention_days, change.copies), (Some(7), Some(Vec::new())));
        let off = [
            json!({ "enabled": false }),
            json!({ "enabled": false, "crossRegionCopies": [] }),
            json!({ "frequency": "", "startTime": "", "retentionDays": 0, "enabled": false, "crossRegionCopies": null }),
        ];
        for body in &off {
            assert_eq!(set_schedule(body).unwrap(), SetSchedule::Off, "{body}");
        }
    }

    #[test]
    fn copies_left_out_stay_as_they_were_and_null_means_none() {
        assert_eq!(on(&json!({ "enabled": true })), ScheduleChange::default());
        assert_eq!(on(&json!({ "enabled": true, "crossRegionCopies": null })).copies, Some(Vec::new()));
        let entry = json!([{ "regionId": "eu", "region": "Europe", "retentionDays": 3 }, { "regionId": "us" }]);
        for name in ["crossRegionCopies", "crossRegionPolicies"] {
            let copies = on(&json!({ "enabled": true, "retentionDays": 9, name: entry })).copies.unwrap();
            let seen: Vec<_> = copies.iter().map(|copy| (copy.region_id.as_str(), copy.retention_days)).collect();
            assert_eq!(seen, [("eu", 3), ("us", 9)]);
        }
    }

    #[test]
    fn each_wrong_field_has_its_code_and_is_named() {
        let cases = [
            (json!({}), 97002, "enabled"),
            (json!({ "enabled": "true" }), 97002, "enabled"),
            (json!({ "enabled": null }), 97002, "enabled"),
            (json!({ "enabled": true, "frequency": "0" }), 96032, "frequency"),
            (json!({ "enabled": true, "frequency": "1,8" }), 96032, "frequency"),
            (json!({ "enabled": true, "frequency": "1,,2" }), 96032, "frequency"),
            (json!({ "enabled": true, "frequency": [1, 2] }), 96032, "frequency"),
            (json!({ "enabled": true, "cron": "* * * * *" }), 96032, "cron"),
            (json!({ "enabled": true, "cron": "0 0 30 2 *" }), 96032, "cron"),
            (json!({ "enabled": true, "startTime": "02:00-03:00" }), 96033, "startTime"),
            (json!({ "enabled": true, "startTime": "2:00-4:00" }), 96033, "startTime"),
            (json!({ "enabled": true, "startTime": 2 }), 96033, "startTime"),
            (json!({ "enabled": true, "retentionDays": 0 }), 96034, "retentionDays"),
            (json!({ "enabled": true, "retentionDays": 31 }), 96034, "retentionDays"),
            (json!({ "enabled": true, "retentionDays": "7" }), 96034, "retentionDays"),
            (json!({ "enabled": true, "crossRegionCopies": [{ "regionId": "" }] }), 96001, "regionId"),
            (
                json!({ "enabled": true, "crossRegionCopies": [{ "regionId": "eu", "retentionDays": 90 }] }),
                96034,
                "crossRegionCopies[0].retentionDays",
            ),
            (json!({ "enabled": true, "crossRegionCopies": {} }), 97002, "crossRegionCopies"),
        ];
        for (body, code, named) in cases {
            let refusal = set_schedule(&body).unwrap_err();
            assert_eq!(refusal.code, code, "{body}: {refusal:?}");
            assert!(refusal.message.contains(named), "{body}: {refusal:?}");
        }
    }
}
