//! Times, and simulated months over a real catalog.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod months;

use longshore_model::{ClusterId, Timestamp};
use proptest::prelude::*;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cluster(number: u8) -> ClusterId {
    ClusterId::from_random([number; 8])
}

fn weekly(days: &str, window: &str) -> Starts {
    Starts::Weekly { days: days.parse().unwrap(), window: window.parse().unwrap() }
}

fn cron(text: &str) -> Starts {
    Starts::Cron(text.parse().unwrap())
}

/// Day of the week and minute of the day, by the calendar of another library.
fn calendar(time: Timestamp) -> (i8, i16) {
    let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    (time.weekday().to_monday_one_offset(), i16::from(time.hour()) * 60 + i16::from(time.minute()))
}

#[test]
fn text_of_a_schedule_is_read_and_written() {
    for (text, canonical) in [("1", "1"), ("7,1,3", "1,3,7"), ("1, 1,2", "1,2"), ("1,2,3,4,5,6,7", "1,2,3,4,5,6,7")] {
        assert_eq!(text.parse::<Weekdays>().unwrap().to_string(), canonical);
    }
    for text in ["", "0", "8", "1,", ",1", "mon", "01", "1;2", "+1", "-1", "1.5", "１"] {
        text.parse::<Weekdays>().unwrap_err();
    }
    for (text, canonical) in [
        ("02:00-04:00", "02:00-04:00"),
        ("00:00-02:00", "00:00-02:00"),
        ("22:00-24:00", "22:00-00:00"),
        ("22:00-00:00", "22:00-00:00"),
        ("23:30-01:30", "23:30-01:30"),
    ] {
        assert_eq!(text.parse::<StartWindow>().unwrap().to_string(), canonical);
    }
    for text in ["", "02:00", "02:00-03:59", "02:00-02:00", "2:00-4:00", "24:30-02:30", "02:60-04:60", "-", "a:b-c:d"] {
        text.parse::<StartWindow>().unwrap_err();
    }
    for (text, canonical) in
        [("30 2 * * 1-5", "30 2 * * 1-5"), (" 0  */6 * * *  Europe/Berlin ", "0 */6 * * * Europe/Berlin")]
    {
        assert_eq!(text.parse::<Cron>().unwrap().to_string(), canonical);
    }
    let long = format!("0 0 * * {}", "1,".repeat(200));
    for text in ["", "* * * *", "60 * * * *", "0 0 * * * Mars/Olympus", "0 0 * * * UTC more", "@daily\0", long.as_str()]
    {
        text.parse::<Cron>().unwrap_err();
    }
}

#[test]
fn cron_starts_neither_never_nor_too_often() {
    for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert!(text.parse::<Cron>().unwrap_err().contains("never"), "{text}");
    }
    for text in ["* * * * *", "*/4 * * * *", "0,3 0 * * *", "0-2 5 * * 1"] {
        assert!(text.parse::<Cron>().unwrap_err().contains("minutes apart"), "{text}");
    }
    for text in ["*/5 * * * *", "0,5 0 29 2 *", "0 0 * * 7#1", "0 3 L * *"] {
        text.parse::<Cron>().unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_schedule_is_kept_as_it_was_set() {
    let copies = vec![ScheduledCopy { region_id: "us".parse().unwrap(), retention_days: 3 }];
    for starts in [weekly("1,3", "23:00-01:00"), cron("0 4 * * * Asia/Shanghai"), Starts::default()] {
        let schedule = Schedule { starts, retention_days: 30, copies: copies.clone() };
        let kept = serde_json::to_value(&schedule).unwrap();
        assert_eq!(serde_json::from_value::<Schedule>(kept).unwrap(), schedule);
    }
}

#[test]
fn cron_follows_its_time_zone_through_the_change_to_summer_time() {
    let berlin = cron("30 2 * * * Europe/Berlin");
    let days: Vec<String> =
        std::iter::successors(Some(time("2026-03-27T12:00:00Z")), |last| berlin.next_after(&cluster(1), *last))
            .skip(1)
            .take(3)
            .map(|start| start.to_string())
            .collect();
    // 02:30 does not exist on 29 March 2026 in Berlin, so that night has no start.
    insta::assert_snapshot!(days.join("\n"), @r"
    2026-03-28T01:30:00Z
    2026-03-30T00:30:00Z
    2026-03-31T00:30:00Z
    ");
}

#[test]
fn clusters_are_spread_over_their_window() {
    let after = time("2026-01-05T00:00:00Z");
    let starts = weekly("1,2,3,4,5,6,7", "02:00-04:00");
    let mut quarters = [0_u32; 8];
    for number in 0..1_000_u32 {
        let mut id = [0; 8];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let id = ClusterId::from_random(id);
        let start = starts.next_after(&id, after).unwrap();
        let (day, minute) = calendar(start);
        assert!(day == 1 && (120..240).contains(&minute), "{start}");
        let next = starts.next_after(&id, start).unwrap();
        assert_eq!(next.millis_since(start), DAY_MS, "a cluster keeps its place in the window");
        quarters[usize::try_from((minute - 120) / 15).unwrap()] += 1;
    }
    // 125 are expected in each quarter of an hour; less than 80 or more than 180 is no accident.
    assert!(quarters.iter().all(|count| (80..180).contains(count)), "{quarters:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_start_is_the_first_in_the_window_of_a_chosen_day(
        days in 1_u8..128,
        opens in 0_u16..1_440,
        minute in 0_i64..60_000_000,
        number: u8,
    ) {
        let days: Vec<String> = (1..=7).filter(|day| days & (1 << (day - 1)) != 0).map(|day: u8| day.to_string()).collect();
        let closes = (opens + 120) % 1_440;
        let window = format!("{:02}:{:02}-{:02}:{:02}", opens / 60, opens % 60, closes / 60, closes % 60);
        let starts = weekly(&days.join(","), &window);
        let after = Timestamp::from_millis(minute * 60_000);
        let next = starts.next_after(&cluster(number), after).unwrap();
        prop_assert!(next > after && next.millis_since(after) <= 8 * DAY_MS);
        // The day counts at which the window opened.
        let opened = next.plus_millis(-i64::from(opens) * 60_000);
        let (day, into) = calendar(opened);
        prop_assert!(days.contains(&day.to_string()) && into < 120, "{opened} {window} {days:?}");
        // Nothing lies between: from just before, the same start is the next one, and each chosen day has exactly one.
        prop_assert_eq!(starts.next_after(&cluster(number), next.plus_millis(-1)), Some(next));
        let mut count = 0;
        let mut last = after;
        while let Some(start) = starts.next_after(&cluster(number), last).filter(|start| start.millis_since(after) <= 7 * DAY_MS) {
            (count, last) = (count + 1, start);
        }
        prop_assert_eq!(count, days.len());
    }
}
