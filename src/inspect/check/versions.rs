//! Whether the org can tell an older change from a later one.

use crate::config::Orders;
use crate::inspect::check::reach::World;
use crate::inspect::check::{Area, Report};
use crate::outbound::version::{OBJECTS, described};

/// Checks the field of `orders.version_field`, where one is named, on each object that has changes.
pub(super) async fn fields(report: &mut Report, world: &World, config: &Orders) {
    let Some(field) = &config.version_field else {
        return;
    };
    for object in OBJECTS {
        let subject = format!("{object} version");
        // An object that is not there is told of already.
        let describe = match world.org.describe(object).await {
            Ok(Some(describe)) => describe,
            Ok(None) => continue,
            Err(error) => {
                report.fail(Area::Orders, &subject, &error.to_string(), "check again");
                continue;
            }
        };
        match described(&describe, field) {
            Ok(name) => {
                let told = format!(
                    "{name} may be set: an older change is refused where the org has the validation rule for it"
                );
                report.ok(Area::Orders, &subject, &told);
            }
            Err(lack) => {
                report.warn(
                    Area::Orders,
                    &subject,
                    &format!("{lack}: changes that arrive late are not told from later ones"),
                    "make it a Number(18, 0) there, with the validation rule that config.toml shows, and give the user Edit on it",
                );
            }
        }
    }
}
