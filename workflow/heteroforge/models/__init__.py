"""Networks: encoder of atoms, generative model of stacks, property network, training loop."""
