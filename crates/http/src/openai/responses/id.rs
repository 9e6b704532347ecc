//! Names of responses and their items. All are derived from the generation's id, so nothing is stored for them and every
//! replica gives the same names.

use tokenwire_core::GenerationId;

/// The name of a generation as a response.
pub(super) fn response(id: GenerationId) -> String {
    format!("resp_{id}")
}

/// The name of an item of its output.
pub(super) fn output(kind: &str, id: GenerationId, index: usize) -> String {
    format!("{kind}_{id}_{index}")
}

/// The name of an item of its input.
pub(super) fn input(kind: &str, id: GenerationId, index: usize) -> String {
    format!("{kind}_{id}_in{index}")
}

/// The generation of a name. The name of a chat completion and a bare generation id are also accepted.
pub(super) fn parse(name: &str) -> Option<GenerationId> {
    let bare = ["resp_", "chatcmpl-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    bare.parse().ok()
}

/// Where the item of a name is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ItemName {
    pub(super) generation: GenerationId,
    pub(super) index: usize,
    pub(super) is_input: bool,
}

/// The item of a name. The kind in the name is ignored: the item itself has it.
pub(super) fn parse_item(name: &str) -> Option<ItemName> {
    let (_kind, place) = name.split_once('_')?;
    let (generation, index) = place.split_once('_')?;
    let (index, is_input) = index.strip_prefix("in").map_or((index, false), |index| (index, true));
    Some(ItemName { generation: generation.parse().ok()?, index: index.parse().ok()?, is_input })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_item_says_where_it_is() {
        let generation = GenerationId::fresh();
        let place = |index, is_input| Some(ItemName { generation, index, is_input });
        assert_eq!(parse_item(&output("msg", generation, 3)), place(3, false));
        assert_eq!(parse_item(&input("fco", generation, 12)), place(12, true));
        for name in
            ["", "msg_1", &response(generation), &format!("msg_{generation}_x"), &format!("{generation}_1")]
        {
            assert_eq!(parse_item(name), None, "{name}");
        }
    }
}
