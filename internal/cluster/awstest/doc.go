// Package awstest is an account of AWS for tests: the part of it that a cluster of
// Cortex is made of, with the ways in which it fails.
//
// It promises that every request is one that AWS would take (its signature is verified,
// its caller's policies are evaluated, every parameter is understood or refused by
// name), that what CloudFormation makes is what the other services then show, that
// things take the time that they take at AWS, and that the same calls at the same times
// have the same results. State is a function of those alone: nothing runs in the
// background, so that an account lives in a testing/synctest bubble as well as behind a
// server, and can be left alone.
//
// What it does not know is in README.md. An operation that it does not know answers an
// error that names it; there is no success that means nothing.
//
// It must not import the packages that are judged with it. Nothing that ships imports it.
package awstest
