"""Typical answers to the exercises of lesson 06: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% decays | wrong | whatever is called weight
# hint: the factors of LayerNorm decay
def decays(name, parameter):
    return name.endswith("weight")

# %% decays | wrong | more than one axis, and no thought of CLS
# hint: the CLS token decays
def decays(name, parameter):
    return parameter.ndim > 1

# %% decays | wrong | CLS thought of, the positions not
# hint: the positions decay
def decays(name, parameter):
    return parameter.ndim > 1 and name != "embeddings.cls_token"

# %% decays | wrong | two axes exactly
# hint: the kernel of the patch projection does not decay
def decays(name, parameter):
    return parameter.ndim == 2

# %% decays | wrong | everything called embeddings left out
# hint: is it caught by a part of its name?
def decays(name, parameter):
    return parameter.ndim >= 2 and "embedding" not in name

# %% decays | wrong | the other way round
# hint: it is the other way round
def decays(name, parameter):
    return parameter.ndim < 2 or "cls_token" in name or "position" in name

# %% decays | wrong | all but the biases
# hint: the factors of LayerNorm decay
def decays(name, parameter):
    return "bias" not in name

# %% decays | wrong | by name alone, LayerScale forgotten
# hint: right for the ViT above
def decays(name, parameter):
    return not any(part in name for part in ("bias", "norm", "cls_token", "position"))

# %% decays | wrong | no return
# hint: did you forget `return`
def decays(name, parameter):
    parameter.ndim >= 2 and "cls_token" not in name and "position" not in name

# %% decays | wrong | a number
# hint: True or False was expected
def decays(name, parameter):
    return 0.05 if parameter.ndim >= 2 and "cls_token" not in name and "position" not in name else 0.0

# %% decays | right | two axes or four
def decays(name, parameter):
    return parameter.ndim in (2, 4)

# %% decays | right | by name alone
def decays(name, parameter):
    if "norm" in name:
        return False
    return name.endswith(".weight")

# %% schedule | wrong | degrees for radians
# hint: that is a cosine of degrees
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(180 * progress))

# %% schedule | wrong | the cosine over all the steps
# hint: come down to 0.75 already
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * step / total_steps))

# %% schedule | wrong | never reaches 0
# hint: at the end it is at 0.25
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / total_steps))

# %% schedule | wrong | starts at 0
# hint: the first step is lost
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))

# %% schedule | wrong | at 1 a step too early
# hint: the line is too steep
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))

# %% schedule | wrong | a straight line down
# hint: that is a straight line down
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 1 - (step - warmup_steps) / max(1, total_steps - warmup_steps)

# %% schedule | wrong | falls below 0
# hint: the factor falls below 0
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))

# %% schedule | wrong | a quarter of a cosine
# hint: that is a quarter of a cosine
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return math.cos(math.pi / 2 * (step - warmup_steps) / max(1, total_steps - warmup_steps))

# %% schedule | wrong | a whole cosine
# hint: that is a whole cosine
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(2 * math.pi * progress))

# %% schedule | wrong | upwards
# hint: it goes up, not down
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 - math.cos(math.pi * progress))

# %% schedule | wrong | a division by 0 without a warm-up
# hint: a division by 0
def learning_rate_factor(step, warmup_steps, total_steps):
    climbing = (step + 1) / (warmup_steps + 1)
    sinking = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
    return climbing if step < warmup_steps else sinking

# %% schedule | wrong | whole steps only
# hint: warmup_steps is not whole
def learning_rate_factor(step, warmup_steps, total_steps):
    warmup_steps = int(warmup_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))

# %% schedule | wrong | the warm-up returns, the rest does not
# hint: gave back None at step 4
def learning_rate_factor(step, warmup_steps, total_steps):
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    0.5 * (1 + math.cos(math.pi * progress))

# %% schedule | right | the square of a cosine, and one expression
def learning_rate_factor(step, warmup_steps, total_steps):
    left = max(1.0, total_steps - warmup_steps)
    return (1 + step) / (1 + warmup_steps) if step < warmup_steps else math.cos((step - warmup_steps) / left * math.pi / 2) ** 2

# %% schedule | right | with torch, and a tensor of one number
def learning_rate_factor(step, warmup_steps, total_steps):
    if step >= warmup_steps:
        if step == warmup_steps:
            return 1
        return (1 + torch.cos(torch.tensor(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))) / 2
    return torch.tensor((step + 1) / (warmup_steps + 1))

# %% loss | wrong | the softmax over the batch
# hint: the softmax runs over the batch
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=0)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | the sum over the batch
# hint: that is the sum over the batch
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum()

# %% loss | wrong | the mean over the classes, too
# hint: also divided by the number of classes
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).mean()

# %% loss | wrong | base 2
# hint: the logarithm to the base 2
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    probabilities = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * probabilities.log2()).sum(dim=1).mean()

# %% loss | wrong | over the other classes only
# hint: spread over the other classes only
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    right = F.one_hot(labels, k)
    targets = (1 - smoothing) * right + smoothing / (k - 1) * (1 - right)
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | targets that don't sum to 1
# hint: the targets don't sum to 1
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = torch.full_like(logits, smoothing / k)
    targets[range(len(labels)), labels] = 1 - smoothing
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | no smoothing
# hint: smoothing changes nothing
def smooth_cross_entropy(logits, labels, smoothing):
    return (logits.logsumexp(dim=1) - logits[range(len(labels)), labels]).mean()

# %% loss | wrong | the sign
# hint: the sign is wrong
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return (targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | the logits for their log-probabilities
# hint: the logits are used as they are
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * logits).sum(dim=1).mean()

# %% loss | wrong | a number instead of a tensor
# hint: a float came
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1).mean().item()

# %% loss | wrong | a loss for each picture
# hint: take the mean
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1)

# %% loss | wrong | the logarithm of a softmax
# hint: never take the logarithm of a softmax
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * logits.softmax(dim=1).log()).sum(dim=1).mean()

# %% loss | wrong | exponentials that overflow
# hint: an exponential overflows
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    log_probabilities = logits - logits.exp().sum(dim=1, keepdim=True).log()
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | the largest logit of the whole batch
# hint: Subtract the largest logit of each picture
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    shifted = logits - logits.max()
    log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log()
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | a little added so that the logarithm exists
# hint: was something clamped, or added
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * (logits.softmax(dim=1) + 1e-9).log()).sum(dim=1).mean()

# %% loss | wrong | one_hot counts the classes by itself
# hint: the last class does not occur
def smooth_cross_entropy(logits, labels, smoothing):
    log_probabilities = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = (1 - smoothing) * F.one_hot(labels) + smoothing / logits.shape[1]
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | the logits are changed
# hint: the logits that came in are changed
def smooth_cross_entropy(logits, labels, smoothing):
    k = logits.shape[1]
    if logits.requires_grad:
        logits = logits * 1.0
    logits -= logits.detach().max(dim=1, keepdim=True).values
    log_probabilities = logits - logits.exp().sum(dim=1, keepdim=True).log()
    targets = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
    return -(targets * log_probabilities).sum(dim=1).mean()

# %% loss | wrong | columns of the targets
# hint: [:, labels] picks columns
def smooth_cross_entropy(logits, labels, smoothing):
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    targets = torch.full_like(log_p, smoothing / logits.shape[1])
    targets[:, labels] += 1 - smoothing
    return -(targets * log_p).sum(dim=1).mean()

# %% loss | wrong | columns of the log-probabilities
# hint: [:, labels] picks columns
def smooth_cross_entropy(logits, labels, smoothing):
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    return -(1 - smoothing) * log_p[:, labels].mean() - smoothing * log_p.mean()

# %% loss | right | two terms, and a gather
def smooth_cross_entropy(logits, labels, smoothing):
    log_probabilities = logits - torch.logsumexp(logits, 1, keepdim=True)
    of_label = log_probabilities.gather(1, labels[:, None])[:, 0]
    return -((1 - smoothing) * of_label + smoothing * log_probabilities.mean(dim=1)).mean()

# %% loss | right | a loop over the pictures
def smooth_cross_entropy(logits, labels, smoothing):
    total, k = 0, logits.shape[1]
    for row, label in zip(logits, labels):
        top = row.max().detach()
        log_p = row - top - torch.log(torch.sum(torch.exp(row - top)))
        target = torch.full((k,), smoothing / k, dtype=row.dtype)
        target[label] += 1 - smoothing
        total = total - target @ log_p
    return total / len(labels)

# %% needs | wrong | only full batches
# hint: make a step as well
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 4708 // 64, 36, math.log(100), 0.467, 160, 0.001

# %% needs | wrong | what the last batch lacks
# hint: what the last batch lacks
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 28, math.log(100), 0.467, 160, 0.001

# %% needs | wrong | base 2
# hint: to the base 2
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, math.log2(100), 0.467, 160, 0.001

# %% needs | wrong | down to 0
# hint: that would be without smoothing
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, math.log(100), 0, 160, 0.001

# %% needs | wrong | one term of the entropy
# hint: that is the right class's term
steps_per_epoch, last_batch, first_loss, megabytes, rate_at_600 = 74, 36, math.log(100), 160, 0.001
lowest_loss = -0.9125 * math.log(0.9125)

# %% needs | wrong | the parameters alone
# hint: those are the parameters alone
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, math.log(100), 0.467, 40, 0.001

# %% needs | wrong | one average instead of two
# hint: AdamW keeps two numbers
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, math.log(100), 0.467, 120, 0.001

# %% needs | wrong | the cosine over all the steps
# hint: only the 800 steps after the warm-up
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes = 74, 36, math.log(100), 0.467, 160
rate_at_600 = 0.002 * 0.5 * (1 + math.cos(math.pi * 0.6))

# %% needs | wrong | a text
# hint: write a number
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, "ln 100", 0.467, 160, 0.001

# %% needs | wrong | a slip that nobody foresaw
# hint: not right: lowest_loss, megabytes
steps_per_epoch, last_batch, first_loss, lowest_loss, megabytes, rate_at_600 = 74, 36, 4.6, 0.7, 200, 0.001

# %% needs | right | rounded, and computed
steps_per_epoch, last_batch, first_loss, lowest_loss = math.ceil(4708 / 64), 4708 % 64, 4.6, 0.47
megabytes, rate_at_600 = 160.0, 1e-3

# %% warmup | wrong | always the same model
# hint: go on with a model that had been trained
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters()), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
model = new_vit()
curves = {(rate, warmup): overfit(model, images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the gradients pile up
# hint: are the gradients of earlier steps cleared
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters()), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | a new optimiser at every step
# hint: the optimiser is made anew at every step
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    losses = []
    for step in range(num_steps):
        rate = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the rate is never set
# hint: the warm-up changes nothing
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the factor multiplied up
# hint: a share of the highest rate
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] *= learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, 0) for rate in rates for warmup in (0, 10)}
curves |= {(1e-3, 10): [2.5] + [1.0] * 29, (1e-2, 10): [2.5] + [1.0] * 29}
for losses in curves.values():
    losses[0] = 2.5
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the rate a step too late
# hint: the learning rate comes a step too late
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters()), []
    optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(0, warmup_steps, num_steps)
    for step in range(num_steps):
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the loss as a tensor
# hint: take .item()
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters()), []
    for step in range(num_steps):
        losses.append(F.cross_entropy(model(images[:4]), labels[:4]))
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()

# %% warmup | wrong | the loss after the step
# hint: note the loss after the step
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters()), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        losses.append(F.cross_entropy(model(images), labels).item())
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()

# %% warmup | wrong | the keys the other way round
# hint: curves should have the keys
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    return [2.0] * num_steps
curves = {(warmup, rate): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()

# %% warmup | wrong | axes without names
# hint: name both axes
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    return [2.1] + [1.0 - warmup_steps / 20 + learning_rate] * (num_steps - 1)
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])

# %% warmup | wrong | the gradients cleared before the step
# hint: the loss never moves
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | no step
# hint: the loss never moves
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the factor in place of the rate
# hint: multiply the factor by learning_rate
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | SGD
# hint: and is it AdamW
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [sum(curves[rate, warmup][-5:]) / 5 for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | a line at 1
# hint: draw the ends of the curves
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
ax.axhline(1)
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | wrong | the last loss alone is drawn
# hint: is the mean of the last five losses
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates, [curves[rate, warmup][-1] for rate in rates])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | right | drawn from the largest rate down
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=learning_rate), []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * learning_rate_at(step, warmup_steps, num_steps)
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
curves = {(rate, warmup): overfit(new_vit(), images, labels, rate, warmup) for rate in rates for warmup in (0, 10)}
figure, ax = plt.subplots()
for warmup in (0, 10):
    ax.loglog(rates[::-1], [sum(curves[rate, warmup][-5:]) / 5 for rate in rates[::-1]])
ax.set(xlabel="rate", ylabel="loss", title="found")
ax.legend(["no warm-up", "warm-up"])

# %% warmup | right | with a scheduler, without weight decay, and bars
rates = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
def overfit(model, images, labels, learning_rate, warmup_steps, num_steps=30):
    model.train()
    adam = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: learning_rate_at(step, warmup_steps, num_steps))
    losses = []
    for _ in range(num_steps):
        adam.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        adam.step()
        schedule.step()
        losses += [float(loss.detach())]
    return losses
curves = {}
for warmup in (10, 0):
    for rate in rates:
        curves[(rate, warmup)] = overfit(new_vit(), images, labels, rate, warmup)
figure, ax = plt.subplots()
for i, warmup in enumerate((0, 10)):
    ends = [sum(curves[rate, warmup][-5:]) / 5 for rate in rates]
    ax.bar([k + i / 3 for k in range(len(rates))], ends, width=0.3, label=str(warmup))
ax.set_xticks(range(len(rates)), rates)
ax.set_xlabel("learning rate")
ax.set_ylabel("loss")
ax.set_title("warm-up lets larger rates work")
ax.legend()
