//! The twins that a type makes impossible: 4, 10 and 13. What the compiler says is kept beside each.

#[test]
fn twins_that_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/c*.rs");
}
