//! The completion scripts for shells, from the tables of flags and commands.
//!
//! The one rule: a flag or command that is in the tables is in every script.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{COMMANDS, FLAGS, Flag, Words};

/// A shell that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }
}

/// The script for a shell.
#[must_use]
pub fn completions(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// The names of a flag as they are written, without `-?`, which shells take for a pattern.
fn names(flag: &Flag) -> impl Iterator<Item = String> {
    let letters = flag.short.chars().filter(char::is_ascii_alphabetic);
    letters.map(|letter| format!("-{letter}")).chain([format!("--{}", flag.long)])
}

fn all_names(flags: &[Flag]) -> String {
    flags.iter().flat_map(names).collect::<Vec<_>>().join(" ")
}

/// The letters of all flags that take something, or of those that do not.
fn letters(takes_something: bool) -> String {
    let all = FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags));
    let these = all.filter(|flag| flag.argument.is_empty() != takes_something);
    let letters = these.flat_map(|flag| flag.short.chars()).filter(char::is_ascii_alphabetic);
    letters.collect::<BTreeSet<char>>().into_iter().collect()
}

fn command_names() -> String {
    COMMANDS.iter().map(|command| command.name).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut text = String::from(
        "# bash completion for nuthatch
_nuthatch() {
    local current=$2 previous=$3 command=${COMP_WORDS[1]} words= files= line
    # The word behind = is a word of its own to bash.
    if [[ $current == = ]]; then current=; fi
    if [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi
    if ((COMP_CWORD == 1)); then command=; fi
",
    );
    // Writing to a string can't fail.
    let _ =
        writeln!(text, "    # Of letters that stand together, the last one may take something.");
    let _ = writeln!(
        text,
        "    if [[ $previous =~ ^-[{}]+[{}]$ ]]; then previous=-${{previous: -1}}; fi",
        letters(false),
        letters(true)
    );
    text.push_str("    case $command in\n");
    for command in COMMANDS {
        let _ = writeln!(text, "    {})", command.name);
        bash_flags(&mut text, command.flags, "", command.words);
    }
    text.push_str("    *)\n");
    let first = format!("{} ", command_names());
    bash_flags(&mut text, FLAGS, &first, Words::None);
    text.push_str(
        "    esac
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=(\"$line\"); done < <(
        compgen -W \"$words\" -- \"$current\"
        # A word may be quoted, and names of files are not.
        line=${current#[\\\"\\']}
        if [[ $files ]]; then compgen -f -- \"${line//\\\\/}\"; fi
    )
}
complete -o filenames -F _nuthatch nuthatch
",
    );
    text
}

/// A branch of the script: the completions after flags with an argument, then all flags.
fn bash_flags(text: &mut String, flags: &[Flag], first: &str, words: Words) {
    text.push_str("        case $previous in\n");
    for flag in flags.iter().filter(|flag| !flag.argument.is_empty()) {
        let names = names(flag).collect::<Vec<_>>().join("|");
        let files = if flag.takes_file() { "files=1" } else { "" };
        let choices = flag.choices().join(" ");
        let _ = writeln!(text, "        {names}) words='{choices}' {files} ;;");
    }
    let (choices, files) = match words {
        Words::OneOf(words) => (format!("{} ", words.join(" ")), ""),
        Words::Files => (String::new(), "files=1"),
        Words::None | Words::Any | Words::Urls => (String::new(), ""),
    };
    let all = all_names(flags);
    let _ = writeln!(text, "        *) words='{choices}{all}' {files}");
    if !first.is_empty() {
        let _ = writeln!(text, "            if ((COMP_CWORD == 1)); then words+=' {first}'; fi");
    }
    text.push_str("            ;;\n        esac\n        ;;\n");
}

fn zsh() -> String {
    let mut text = String::from("#compdef nuthatch\n\n_nuthatch() {\n    local -a commands\n");
    text.push_str("    commands=(\n");
    for command in COMMANDS {
        let _ = writeln!(text, "        '{}:{}'", command.name, zsh_text(command.doc));
    }
    text.push_str(
        "    )
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe command commands
        return
    fi
    case $words[2] in
",
    );
    for command in COMMANDS {
        let _ =
            writeln!(text, "    {})\n        shift words\n        (( CURRENT-- ))", command.name);
        let rest = match command.words {
            Words::None => String::new(),
            Words::Any => "'*:key:' ".into(),
            Words::Urls => "'*:URL:' ".into(),
            Words::Files => "'*:file:_files' ".into(),
            Words::OneOf(words) => format!("'1:word:({})' ", words.join(" ")),
        };
        zsh_flags(&mut text, command.flags, &rest);
    }
    text.push_str("    *)\n");
    zsh_flags(&mut text, FLAGS, "");
    text.push_str("    esac\n}\n\n_nuthatch \"$@\"\n");
    text
}

fn zsh_flags(text: &mut String, flags: &[Flag], rest: &str) {
    // With -s, letters may stand together.
    text.push_str("        _arguments -s");
    for flag in flags {
        let action = match flag.choices() {
            _ if flag.takes_file() => "_files".to_owned(),
            [] => String::new(),
            choices => format!("({})", choices.join(" ")),
        };
        let all = names(flag).collect::<Vec<_>>().join(" ");
        for name in names(flag) {
            let doc = zsh_text(flag.doc);
            let sign = if name.starts_with("--") { "=" } else { "+" };
            let _ = match flag.argument {
                "" => write!(text, " \\\n            '({all}){name}[{doc}]'"),
                argument => {
                    let argument = zsh_text(argument);
                    write!(
                        text,
                        " \\\n            '({all}){name}{sign}[{doc}]:{argument}:{action}'"
                    )
                }
            };
        }
    }
    let _ = writeln!(text, " {rest}\n        ;;");
}

/// Text for single quotes, with brackets and colons escaped.
fn zsh_text(text: &str) -> String {
    let text = text.replace('\'', "'\\''");
    text.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

fn fish() -> String {
    let commands = command_names();
    let mut text = String::from("# fish completion for nuthatch\ncomplete -c nuthatch -f\n");
    let before = format!("not __fish_seen_subcommand_from {commands}");
    for command in COMMANDS {
        let (name, doc) = (command.name, fish_text(command.doc));
        let _ =
            writeln!(text, "complete -c nuthatch -n '__fish_is_first_arg' -a {name} -d '{doc}'");
    }
    FLAGS.iter().for_each(|flag| fish_flag(&mut text, &before, flag));
    for command in COMMANDS {
        let inside = format!("__fish_seen_subcommand_from {}", command.name);
        let _ = match command.words {
            Words::None | Words::Any | Words::Urls => Ok(()),
            Words::Files => writeln!(text, "complete -c nuthatch -n '{inside}' -F"),
            Words::OneOf(words) => {
                writeln!(text, "complete -c nuthatch -n '{inside}' -a '{}'", words.join(" "))
            }
        };
        command.flags.iter().for_each(|flag| fish_flag(&mut text, &inside, flag));
    }
    text
}

fn fish_flag(text: &mut String, condition: &str, flag: &Flag) {
    let _ = write!(text, "complete -c nuthatch -n '{condition}'");
    for letter in flag.short.chars().filter(char::is_ascii_alphabetic) {
        let _ = write!(text, " -s {letter}");
    }
    let _ = write!(text, " -l {}", flag.long);
    let choices = flag.choices().join(" ");
    let _ = match flag.argument {
        "" => Ok(()),
        _ if flag.takes_file() => write!(text, " -r -F"),
        _ => write!(text, " -x -a '{choices}'"),
    };
    let _ = writeln!(text, " -d '{}'", fish_text(flag.doc));
}

fn fish_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
