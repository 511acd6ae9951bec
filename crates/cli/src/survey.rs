//! All shared memory that there is to see: what `ls` and `watch` show.

use commons::Namespace;

use crate::failure::Outcome;
use crate::record::Record;

/// Looks at all segments of a namespace, in no order. What is gone by the time it is looked at was not there.
pub(crate) fn segments(namespace: &Namespace) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    for entry in namespace.list()? {
        records.extend(Record::of(&entry?, namespace)?);
    }
    Ok(records)
}
