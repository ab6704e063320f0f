//! Writes the mutants that `cargo mutants --list --json` lists into the sources, all at once, each behind a number that is asked for at run time: a build
//! serves them all, where each would need its own.
//!
//!     unwedge-mutants LIST.json SKIPPED.txt ROOT
//!
//! rewrites the files under ROOT (a copy of the sources) and prints the numbers of the mutants that are in. A number is the mutant's place in the list, from 1.
//! What stands in a constant (`const`, `static`, a `const fn`, the length of an array) cannot ask for a number, nor can a condition with a `let` in it: these are
//! left out, and so are the numbers in SKIPPED.txt, which did not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{LineColumn, Span};
use serde::Deserialize;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, Member, Signature, parse_quote, parse_str};

#[derive(Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

#[derive(Deserialize)]
struct Extent {
    start: Place,
}

#[derive(Deserialize)]
struct Mutant {
    file: String,
    genre: String,
    replacement: String,
    span: Extent,
}

/// What the sources ask.
const ASKS: &str = r#"
/// Which mutant runs: none, unless the environment names one.
#[doc(hidden)]
#[allow(missing_docs, clippy::all)]
pub mod mutant {
    pub fn now() -> u32 {
        static NOW: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        *NOW.get_or_init(|| std::env::var("UNWEDGE_MUTANT").map_or(0, |number| number.parse().unwrap()))
    }
}
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [list, skipped, root] = &arguments[..] else { panic!("LIST.json SKIPPED.txt ROOT") };
    let list: Vec<Mutant> =
        serde_json::from_str(&fs::read_to_string(list).expect("the list")).expect("as cargo-mutants writes it");
    let skipped = fs::read_to_string(skipped).unwrap_or_default();
    let skipped: BTreeSet<usize> = skipped.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (place, mutant) in list.iter().enumerate() {
        let of_file = files.entry(&mutant.file).or_default();
        if !skipped.contains(&(place + 1)) {
            of_file.push((place + 1, mutant));
        }
    }
    for (file, mutants) in files {
        let path = Path::new(root).join(file);
        let mut syntax = syn::parse_file(&fs::read_to_string(&path).expect("a source")).expect("Rust");
        let mut switch = Switch { mutants, done: Vec::new() };
        switch.visit_file_mut(&mut syntax);
        fs::write(&path, prettyplease::unparse(&syntax)).expect("written");
        switch.done.iter().for_each(|number| println!("{number}"));
    }
    let lib = Path::new(root).join("src/lib.rs");
    let text = fs::read_to_string(&lib).expect("the root of the crate");
    if !text.contains("pub mod mutant {") {
        fs::write(&lib, text + ASKS).expect("written");
    }
}

struct Switch<'a> {
    mutants: Vec<(usize, &'a Mutant)>,
    done: Vec<usize>,
}

impl<'a> Switch<'a> {
    /// The mutants of this kind that begin here.
    fn at(&mut self, genre: &str, span: Span) -> Vec<(u32, &'a str)> {
        let LineColumn { line, column } = span.start();
        let here = |mutant: &Mutant| {
            mutant.genre == genre && (mutant.span.start.line, mutant.span.start.column) == (line, column + 1)
        };
        let found: Vec<_> = self.mutants.iter().filter(|(_, mutant)| here(mutant)).copied().collect();
        self.done.extend(found.iter().map(|(number, _)| *number));
        found.into_iter().map(|(number, mutant)| (number as u32, mutant.replacement.as_str())).collect()
    }

    fn function(&mut self, signature: &Signature, body: &mut Block) {
        if signature.constness.is_some() {
            return;
        }
        let values = body.stmts.first().map(Spanned::span).map(|span| self.at("FnValue", span)).unwrap_or_default();
        visit_mut::visit_block_mut(self, body);
        for (place, (number, value)) in values.into_iter().enumerate() {
            let value: Expr = parse_str(value).expect("an expression");
            body.stmts.insert(place, parse_quote!(if crate::mutant::now() == #number { return #value; }));
        }
    }
}

/// An expression that is one of these by number, and else the last.
fn chosen(others: Vec<(u32, Expr)>, whole: Expr) -> Expr {
    let (numbers, others): (Vec<_>, Vec<_>) = others.into_iter().unzip();
    // In parentheses, so that what begins with a block is no statement.
    parse_quote!((match crate::mutant::now() { #(#numbers => { #others })* _ => (#whole) }))
}

fn in_parentheses(expr: Expr) -> Expr {
    parse_quote!((#expr))
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl VisitMut for Switch<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let before = match expr {
            Expr::Binary(_) | Expr::Unary(_) | Expr::Struct(_) => Some(expr.clone()),
            _ => None,
        };
        visit_mut::visit_expr_mut(self, expr);
        let others: Vec<(u32, Expr)> = match before {
            Some(Expr::Binary(binary)) if !has_let(&binary.left) && !has_let(&binary.right) => {
                let (left, right) = (in_parentheses(*binary.left), in_parentheses(*binary.right));
                let other = |(number, operator): (u32, &str)| {
                    let operator: BinOp = parse_str(operator).expect("an operator");
                    (number, parse_quote!(#left #operator #right))
                };
                self.at("BinaryOperator", binary.op.span()).into_iter().map(other).collect()
            }
            Some(Expr::Unary(unary)) => {
                let found = self.at("UnaryOperator", unary.op.span());
                found.into_iter().map(|(number, _)| (number, in_parentheses((*unary.expr).clone()))).collect()
            }
            Some(Expr::Struct(literal)) => {
                let mut others = Vec::new();
                for field in &literal.fields {
                    let span = match &field.member {
                        Member::Named(name) => name.span(),
                        Member::Unnamed(index) => index.span,
                    };
                    for (number, _) in self.at("StructField", span) {
                        let mut without = literal.clone();
                        let left = literal.fields.iter().filter(|other| other.member != field.member).cloned();
                        without.fields = left.collect();
                        if !without.fields.empty_or_trailing() {
                            without.fields.push_punct(Default::default());
                        }
                        others.push((number, Expr::Struct(without)));
                    }
                }
                others
            }
            _ => Vec::new(),
        };
        if !others.is_empty() {
            *expr = chosen(others, expr.clone());
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        let deleted = self.at("MatchArm", arm.span());
        let guards = arm.guard.as_ref().map(|(_, guard)| guard.span()).map(|span| self.at("MatchArmGuard", span));
        visit_mut::visit_arm_mut(self, arm);
        if let Some((_, guard)) = &mut arm.guard {
            let others: Vec<_> = guards.unwrap_or_default();
            let others: Vec<_> = others.into_iter().map(|(n, value)| (n, parse_str(value).expect("a value"))).collect();
            if !others.is_empty() {
                **guard = chosen(others, (**guard).clone());
            }
        }
        for (number, _) in deleted {
            let there: Expr = parse_quote!(crate::mutant::now() != #number);
            let guard: Expr = match &arm.guard {
                Some((_, guard)) => parse_quote!(#there && (#guard)),
                None => there,
            };
            arm.guard = Some((parse_quote!(if), Box::new(guard)));
        }
    }

    fn visit_item_fn_mut(&mut self, item: &mut syn::ItemFn) {
        self.function(&item.sig, &mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut syn::ImplItemFn) {
        self.function(&item.sig, &mut item.block);
    }

    fn visit_trait_item_fn_mut(&mut self, item: &mut syn::TraitItemFn) {
        if let Some(body) = &mut item.default {
            self.function(&item.sig, body);
        }
    }

    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }

    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}
    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_variant_mut(&mut self, _: &mut syn::Variant) {}
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
}
