//! The tiny tokenizer has the tasks' words.

use super::tokenizer::tiny_tokenizer;
use percept_cppo::problems::tasks::response::TEMPLATE_PIECES;
use percept_cppo::problems::tasks::{Family, Split, Task, TaskConfig};
use percept_model::SpecialTokens;

#[test]
fn template_pieces_of_the_tasks_are_single_tokens() {
    let tokenizer = tiny_tokenizer();
    for piece in TEMPLATE_PIECES {
        assert_eq!(tokenizer.encode(piece).unwrap().len(), 1, "{piece:?}");
    }
}

#[test]
fn no_token_of_a_reference_response_has_two_roles() {
    let tokenizer = tiny_tokenizer();
    let mut longest = 0;
    for family in Family::ALL {
        let config = TaskConfig { families: vec![family], level: 5, ..TaskConfig::default() };
        for problem in Task::new(&config).unwrap().problems(Split::Train, 0..60) {
            let text = problem.reference_text();
            let ids = tokenizer.encode(&text).unwrap();
            let (decoded, ranges) = tokenizer.decode_with_ranges(&ids, SpecialTokens::Skip).unwrap();
            assert_eq!(decoded, text);
            let ends: Vec<usize> = ranges.iter().map(|range| range.end).collect();
            let mut end = 0;
            for span in &problem.reference {
                end += span.text.len();
                assert!(ends.contains(&end), "{:?} of {text:?} ends inside a token", span.text);
            }
            longest = longest.max(ids.len());
            let question = tokenizer.encode(&problem.text).unwrap();
            assert!(question.len() <= 20, "{} tokens: {:?}", question.len(), problem.text);
        }
    }
    assert!(longest <= 64, "{longest} tokens");
}
