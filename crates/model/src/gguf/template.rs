//! Turns a conversation into the text that a model was trained to answer.
//!
//! A model file contains a Jinja template for that, which is used unchanged. Texts of the conversation pass through it
//! unchanged, with one exception: the spelling of a special token is replaced by a mark, which becomes plain text afterwards.
//! So a user cannot end a message, or begin a system message, by typing a special token.
//!
//! Templates get no date. The result must be the same when an answer is taken over on another day.

use minijinja::{Environment, Error, ErrorKind, context, syntax::SyntaxConfig, value::Value};
use tokenwire_core::Conversation;

/// For files without a template: ChatML, which most models know best.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% \
                      endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A private-use character, which conversations hardly ever contain. [`Mark`] does not rely on that.
const OPEN: char = '\u{F8F0}';
const CLOSE: char = '\u{F8F1}';

const NAME: &str = "chat";

/// A model's template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
    /// The spellings of special tokens, longest first.
    special: Vec<String>,
}

/// A part of a template's output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptPart {
    /// Special tokens in it are meant.
    Made(String),
    /// Typed by a user: looks like a special token, and is plain text.
    Typed(String),
}

impl ChatTemplate {
    /// Compiles a template and tries it. `ends` is how the tokens at the beginning and at the end of a text are spelled.
    pub(super) fn new(
        source: Option<&str>,
        ends: [String; 2],
        mut special: Vec<String>,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        // As the templates' own home, the transformers library, does.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| explain(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", refuse);
        let source = source.unwrap_or(CHATML).to_owned();
        environment.add_template_owned(NAME, source).map_err(|error| explain(&error))?;

        special.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        special.dedup();
        let [begin, end] = ends;
        let template = Self { environment, begin, end, special };
        let hello = Conversation::of("Hello").map_err(|error| error.to_string())?;
        template.render(&hello)?;
        Ok(template)
    }

    /// The parts in order. Fails if the template refuses the conversation, with a message for the caller.
    pub(super) fn render(&self, conversation: &Conversation) -> Result<Vec<PromptPart>, String> {
        let mark = Mark::unlike(conversation);
        let messages: Vec<Value> = conversation
            .messages()
            .iter()
            .map(|said| context! { role => said.role().as_str(), content => self.marked(said.content(), &mark) })
            .collect();
        let context = context! {
            messages,
            add_generation_prompt => true,
            bos_token => &self.begin,
            eos_token => &self.end,
        };
        let template = self.environment.get_template(NAME).map_err(|error| explain(&error))?;
        let made = template.render(context).map_err(|error| explain(&error))?;
        self.parts(&made, &mark)
    }

    /// The text with a mark for every special token in it.
    fn marked(&self, text: &str, mark: &Mark) -> String {
        let mut marked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, index, spelling)) = self.first_special(rest) {
            let (before, found) = rest.split_at(at);
            marked.push_str(before);
            marked.push_str(&mark.of(index));
            rest = found.strip_prefix(spelling).unwrap_or_default();
        }
        marked + rest
    }

    fn first_special(&self, text: &str) -> Option<(usize, usize, &str)> {
        let begins = |letter: char| self.special.iter().any(|spelling| spelling.starts_with(letter));
        text.char_indices().filter(|&(_, letter)| begins(letter)).find_map(|(at, _)| {
            let here = text.get(at..)?;
            let (index, spelling) =
                self.special.iter().enumerate().find(|(_, spelling)| here.starts_with(spelling.as_str()))?;
            Some((at, index, spelling.as_str()))
        })
    }

    fn parts(&self, made: &str, mark: &Mark) -> Result<Vec<PromptPart>, String> {
        let mut between = made.split(mark.0.as_str());
        let mut parts: Vec<_> =
            between.next().map(|first| PromptPart::Made(first.to_owned())).into_iter().collect();
        for after in between {
            let spelled = after.split_once(CLOSE).and_then(|(index, rest)| {
                let spelling = self.special.get(index.parse::<usize>().ok()?)?;
                Some([PromptPart::Typed(spelling.clone()), PromptPart::Made(rest.to_owned())])
            });
            parts.extend(spelled.ok_or("it takes texts apart that look like special tokens")?);
        }
        Ok(parts)
    }
}

/// Stands for a special token that was typed.
struct Mark(String);

impl Mark {
    /// A mark that the conversation does not contain.
    fn unlike(conversation: &Conversation) -> Self {
        let is_free =
            |mark: &String| conversation.messages().iter().all(|said| !said.content().contains(mark));
        // A conversation has no room for all of these.
        let mut marks = (0..Conversation::MAX_BYTES).map(|number| format!("{OPEN}{number}{CLOSE}"));
        let free = marks.find(is_free);
        Self(free.unwrap_or_default())
    }

    fn of(&self, index: usize) -> String {
        format!("{}{index}{CLOSE}", self.0)
    }
}

/// The function that templates call to refuse a conversation.
fn refuse(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// The error, without its place in the template.
fn explain(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
