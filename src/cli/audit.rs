//! The audit log: its lines, and the proof that none was changed.

use argh::FromArgs;
use http::Method;

use super::client::Client;
use crate::audit::ChainEnd;

/// Print the newest lines of the audit log, or follow its chain of hashes from end to end.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "audit")]
pub(super) struct Audit {
    #[argh(positional, description = "tail or verify", default = "String::from(\"tail\")")]
    action: String,
    #[argh(option, description = "lines that tail prints", default = "50", short = 'n')]
    lines: u64,
    #[argh(option, description = "NUMBER:HASH that an earlier verify printed: that line must still be there")]
    noted: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// The oldest lines may go while they are followed: then it begins anew, so many times at most.
const VERIFY_ATTEMPTS: usize = 5;

#[derive(serde::Deserialize)]
struct Ends {
    anchor: ChainEnd,
    end: ChainEnd,
}

impl Audit {
    pub fn run(self) -> Result<(), String> {
        let client = Client::find(self.endpoint.clone())?;
        match self.action.as_str() {
            "tail" => {
                let ends = Ends::of(&client)?;
                let after = ends.end.number.saturating_sub(self.lines).max(ends.anchor.number);
                each_line(&client, after, ends.end.number, |line| {
                    println!("{line}");
                    Ok(())
                })
            }
            "verify" => self.verify(&client),
            other => Err(format!("{other}: say tail or verify")),
        }
    }

    fn verify(&self, client: &Client) -> Result<(), String> {
        let noted = self.noted.as_deref().map(parse_noted).transpose()?;
        for _ in 0..VERIFY_ATTEMPTS {
            let ends = Ends::of(client)?;
            let mut end = ends.anchor.clone();
            let mut found = noted.as_ref().is_none_or(|noted| *noted == end);
            let followed = each_line(client, ends.anchor.number, ends.end.number, |line| {
                end.follow(line).map_err(|error| error.to_string())?;
                found |= noted.as_ref() == Some(&end);
                Ok(())
            });
            let whole = followed.and_then(|()| match end.number < ends.end.number {
                true => Err(format!("the log ends at line {}, it has {}", end.number, ends.end.number)),
                false => Ok(()),
            });
            // Lines that go by age between two questions are no gap: their end is the anchor then.
            if whole.is_err() && Ends::of(client)?.anchor.number > ends.anchor.number {
                continue;
            }
            whole?;
            return match noted {
                Some(noted) if !found && noted.number < ends.anchor.number => {
                    Err(format!("line {} has been cut off by age; note a newer one", noted.number))
                }
                Some(noted) if !found => {
                    Err(format!("line {} is not the one that was noted: the log was rewritten", noted.number))
                }
                _ => {
                    let first = ends.anchor.number + 1;
                    println!(
                        "lines {first} to {} follow from each other; note {}:{}",
                        end.number, end.number, end.hash
                    );
                    Ok(())
                }
            };
        }
        Err("old lines go faster than they can be followed; try again when less is taken down".to_owned())
    }
}

impl Ends {
    fn of(client: &Client) -> Result<Ends, String> {
        let ends = client.call(Method::GET, "/_aerie/v1/audit/ends", "", Vec::new())?;
        serde_json::from_slice(&ends).map_err(|error| error.to_string())
    }
}

fn parse_noted(text: &str) -> Result<ChainEnd, String> {
    let parts = text.split_once(':').and_then(|(number, hash)| Some((number.parse().ok()?, hash)));
    let (number, hash) = parts.ok_or_else(|| format!("{text}: write what verify printed, NUMBER:HASH"))?;
    Ok(ChainEnd { number, hash: hash.to_owned() })
}

/// Asks for page after page, up to the end that was there at the beginning: to ask may itself be taken down.
fn each_line(
    client: &Client,
    mut after: u64,
    end: u64,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    while after < end {
        let page = client.call(Method::GET, "/_aerie/v1/audit", &format!("after={after}"), Vec::new())?;
        let page = String::from_utf8(page).map_err(|_| "the log is not UTF-8".to_owned())?;
        let before = after;
        for line in page.lines().take((end - before) as usize) {
            take(line)?;
            after += 1;
        }
        if after == before {
            return Ok(());
        }
    }
    Ok(())
}
