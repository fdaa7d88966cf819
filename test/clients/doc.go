// Package clients drives real SDKs, headless, against a scripted model: the
// vendors' JavaScript SDKs by a small agent in driver.mjs, their Go SDKs by one
// in the module gosdk. Each has one tool, that runs a shell command, and runs
// whatever a model says at whatever place.
//
// A session is one SDK, one API, plain or streamed, in one column. The column
// "direct" has no proxy: it shows that the SDKs work and that a command which a
// policy forbids takes effect. The column "proxy" has sallyport proxy in between
// and shows that honest work is done all the same, that what is forbidden has no
// effect, that the reason is seen once, and that what is counted is what the
// model's server said.
//
// The SDKs are pinned and not part of the tree: make clients installs them.
// Without them the tests skip and say so. Only tests belong here.
package clients
