"""The shared core: convolution blocks, the training loop, the runtime, weights folders, and the
manners of every command (errors, limits, progress, output). It knows no app."""
