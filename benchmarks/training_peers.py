"""One and the same VAE, trained by hand in NumPy, by JAX and by PyTorch.

ReLU perceptrons, bits under logits, N(0, I) prior with the analytic divergence, one particle, Adam with its usual
constants. Every builder takes parameters by the names of a model file ("encoder.0.weight", (outputs, inputs), and so
on), rows, and a batch size that divides them. It gives the ways of its library by name: each is an epoch, a function
that trains over a new order of the rows and returns the mean loss.
"""

from functools import partial

import numpy as np

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def layers(parameters, part):
    """The (weight, bias) of each dense layer of "encoder" or "decoder", weight as (inputs, outputs)."""
    depth = sum(name.startswith(part) and name.endswith("weight") for name in parameters)
    return [
        (np.ascontiguousarray(parameters[f"{part}.{i}.weight"].T), parameters[f"{part}.{i}.bias"].copy())
        for i in range(depth)
    ]


def in_numpy(parameters, rows, batch):
    rng = np.random.default_rng(0)
    encoder, decoder = layers(parameters, "encoder"), layers(parameters, "decoder")
    tensors = [tensor for layer in encoder + decoder for tensor in layer]
    first, second = [[np.zeros_like(tensor) for tensor in tensors] for _ in range(2)]
    steps = 0

    def forward(mlp, x):
        inputs = [x]
        for weight, bias in mlp[:-1]:
            inputs.append(np.maximum(inputs[-1] @ weight + bias, 0))
        weight, bias = mlp[-1]
        return inputs, inputs[-1] @ weight + bias

    def backward(mlp, inputs, d_out, *, to_input):
        gradients = []
        for i in range(len(mlp) - 1, -1, -1):
            gradients[:0] = [inputs[i].T @ d_out, d_out.sum(0)]
            if i or to_input:
                d_out = d_out @ mlp[i][0].T
            if i:
                d_out *= inputs[i] > 0
        return gradients, d_out

    def step(x):
        encoder_inputs, head = forward(encoder, x)
        loc, log_var = np.split(head, 2, axis=1)
        scale = np.exp(0.5 * log_var)
        eps = rng.standard_normal(loc.shape, np.float32)
        decoder_inputs, logits = forward(decoder, loc + scale * eps)
        e = np.exp(-abs(logits))
        reconstruction = (x * logits - np.maximum(logits, 0) - np.log1p(e)).sum()
        divergence = 0.5 * (loc * loc + scale * scale - 1 - log_var).sum()
        d_logits = (np.where(logits >= 0, 1, e) / (1 + e) - x) / np.float32(len(x))
        decoder_gradients, d_z = backward(decoder, decoder_inputs, d_logits, to_input=True)
        d_loc = d_z + loc / len(x)
        d_log_var = 0.5 * (d_z * eps * scale + (scale * scale - 1) / len(x))
        encoder_gradients, _ = backward(encoder, encoder_inputs, np.concatenate([d_loc, d_log_var], 1), to_input=False)
        adam(encoder_gradients + decoder_gradients)
        return (divergence - reconstruction) / len(x)

    def adam(gradients):
        nonlocal steps
        steps += 1
        rate = RATE * (1 - BETA2**steps) ** 0.5 / (1 - BETA1**steps)
        epsilon = EPSILON * (1 - BETA2**steps) ** 0.5
        for i, gradient in enumerate(gradients):
            first[i] += (1 - BETA1) * (gradient - first[i])
            second[i] += (1 - BETA2) * (gradient * gradient - second[i])
            tensors[i] -= rate * first[i] / (np.sqrt(second[i]) + epsilon)

    def epoch():
        order = rng.permutation(len(rows)).reshape(-1, batch)
        return float(np.mean([step(rows[index]) for index in order]))

    return {"NumPy": epoch}


def in_jax(jax, parameters, rows, batch):
    xp = jax.numpy
    given = xp.asarray(rows)
    rng = np.random.default_rng(0)

    def mlp(dense, x):
        for weight, bias in dense[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = dense[-1]
        return x @ weight + bias

    def loss(tensors, x, key):
        loc, log_var = xp.split(mlp(tensors["encoder"], x), 2, axis=1)
        z = loc + xp.exp(0.5 * log_var) * jax.random.normal(key, loc.shape)
        logits = mlp(tensors["decoder"], z)
        reconstruction = (x * logits - jax.nn.softplus(logits)).sum()
        divergence = 0.5 * (loc**2 + xp.exp(log_var) - 1 - log_var).sum()
        return (divergence - reconstruction) / len(x)

    def step(x_all, state, index):
        tensors, first, second, steps, key = state
        key, noise = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(tensors, x_all[index], noise)
        steps += 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
        rate = RATE * xp.sqrt(1 - BETA2**steps) / (1 - BETA1**steps)
        epsilon = EPSILON * xp.sqrt(1 - BETA2**steps)
        tensors = jax.tree.map(lambda t, m, v: t - rate * m / (xp.sqrt(v) + epsilon), tensors, first, second)
        return (tensors, first, second, steps, key), value

    def start():
        tensors = jax.tree.map(xp.asarray, {part: layers(parameters, part) for part in ("encoder", "decoder")})
        first, second = (jax.tree.map(xp.zeros_like, tensors) for _ in range(2))
        return tensors, first, second, xp.float32(0), jax.random.key(0)

    one = jax.jit(step, donate_argnums=1)
    scan = jax.jit(lambda x_all, state, order: jax.lax.scan(partial(step, x_all), state, order), donate_argnums=1)

    def orders():
        return rng.permutation(len(rows)).astype(np.int32).reshape(-1, batch)

    def stepwise():
        state = start()

        def epoch():
            nonlocal state
            values = []
            for index in orders():
                state, value = one(given, state, index)
                values.append(value)
            jax.block_until_ready(state)
            return float(np.mean(values))

        return epoch

    def scanned():
        state = start()

        def epoch():
            nonlocal state
            state, values = scan(given, state, orders())
            jax.block_until_ready(state)
            return float(values.mean())

        return epoch

    return {"JAX step": stepwise(), "JAX scan": scanned()}


def in_torch(torch, parameters, rows, batch, *, compiled):
    functional = torch.nn.functional
    x_all = torch.from_numpy(rows)

    def mlp(part):
        modules = []
        for weight, bias in layers(parameters, part):
            dense = torch.nn.Linear(*weight.shape)
            dense.weight.copy_(torch.from_numpy(weight.T))
            dense.bias.copy_(torch.from_numpy(bias))
            modules += [dense, torch.nn.ReLU()]
        return torch.nn.Sequential(*modules[:-1])

    def way(wrap, **options):
        encoder, decoder = mlp("encoder"), mlp("decoder")
        tensors = [*encoder.parameters(), *decoder.parameters()]
        adam = torch.optim.Adam(tensors, lr=RATE, betas=(BETA1, BETA2), **options)

        def loss(x):
            loc, log_var = encoder(x).chunk(2, dim=1)
            z = loc + torch.exp(0.5 * log_var) * torch.randn_like(loc)
            reconstruction = -functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            divergence = 0.5 * (loc**2 + log_var.exp() - 1 - log_var).sum()
            return (divergence - reconstruction) / len(x)

        loss = wrap(loss)

        def epoch():
            total = 0.0
            with torch.enable_grad():
                for index in torch.randperm(len(x_all)).split(batch):
                    value = loss(x_all[index])
                    adam.zero_grad()
                    value.backward()
                    adam.step()
                    total += value.detach()
            return float(total) / (len(x_all) // batch)

        return epoch

    ways = {"PyTorch eager": way(lambda loss: loss)}
    if compiled:
        ways["PyTorch compiled"] = way(lambda loss: torch.compile(loss, dynamic=False), fused=True)
    return ways
