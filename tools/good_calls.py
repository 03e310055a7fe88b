"""Sound calls of the library's public functions: `hostile.py` spoils their arguments one at a time.

Each package has a function that returns pairs of a function and the arguments of a good call.
Files lie in `odd`, which `hostile.write_inputs` fills; what a call writes goes to `new`.
"""

from pathlib import Path


def small_curves():
    "Three candidates on five sizes."
    from lensllm.curves.table import CurveSet

    losses = {
        "200": [3.0, 3.1, 3.2],
        "400": [2.9, 2.95, 3.0],
        "800": [2.8, 2.82, 2.9],
        "1600": [2.7, 2.72, 2.8],
        "3200": [2.6, 2.65, 2.72],
    }
    return CurveSet(dict(model=["a", "b", "c"], n_params=[1e8, 2e8, 3e8], **losses))


def six_curves():
    "Six candidates on five sizes."
    import numpy as np
    from lensllm.curves.table import CurveSet

    D = np.array([200, 400, 800, 1600, 3200])
    table = {str(size): (20 + np.arange(6)) * size**-0.3 + np.arange(6) / 9 for size in D}
    return CurveSet(dict(model=list("abcdef"), n_params=[1e8] * 6, **table))


def of_curves(odd, new):
    "Functions of `curves`."
    from functools import partial

    import numpy as np
    import pandas as pd
    from lensllm.curves import cells, checks, events, exports, files, harness, logs, metrics, table
    from lensllm.curves import scores as of_scores

    curves = small_curves()
    frame, scores, losses = curves.frame, pd.Series([1.0, 2.0, 3.0]), pd.Series([3.0, 2.5, 2.0])
    pair, table_file = dict(scores=scores, losses=losses), str(odd / "good.csv")
    log = odd / "logs" / "sound" / "a" / "200" / "trainer_state.json"
    low, high = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    wide = pd.DataFrame({"model": ["a"], "200": [3.0]})
    accuracy = of_scores.Metric("accuracy", higher_is_better=True, percent=False)
    named = ("pearson", "regret", "relative_accuracy", "spearman", "kendall")
    return [
        (cells.as_number, dict(value="3.5", decimal=".")),
        (cells.as_count, dict(value="1e8", decimal=".")),
        (cells.header_size, dict(header="200", decimal=".")),
        (partial(cells.number, "loss"), dict(value=3.0)),
        (partial(cells.whole_number, "n"), dict(value=3)),
        (checks.log_noise, dict(curves=[curves.curve("a")])),
        (checks.numbers_of, dict(column=losses, name="test_loss")),
        (checks.with_numbers, dict(frame=frame)),
        (checks.name_errors, dict(frame=frame)),
        (checks.check_columns, dict(frame=frame, needed=("model",))),
        (checks.similar_column, dict(column="modell", present=["model"])),
        (checks.quality_errors, dict(frame=frame, metric=of_scores.LOSS)),
        (checks.quality_flags, dict(frame=frame, metric=of_scores.LOSS)),
        (of_scores.Metric, dict(name="f1", higher_is_better=True, percent=True, n_test=100)),
        (of_scores.as_metric, dict(metric="f1")),
        (of_scores.metric_of, dict(header="eval_f1")),
        (of_scores.measured, dict(frame=frame, metric=accuracy, unit="percent")),
        (of_scores.with_losses, dict(frame=frame, metric=of_scores.LOSS)),
        (of_scores.with_linked, dict(frame=frame.assign(loss=2.0), metric=accuracy)),
        (of_scores.score_columns, dict(frame=frame)),
        (of_scores.told_metric, dict(metric="f1")),
        (curves.standing_for, dict(metric=accuracy)),
        (accuracy.loss_of, dict(score=0.7)),
        (accuracy.score_of, dict(loss=0.3)),
        (accuracy.noise_of, dict(loss=0.3, n_test=100)),
        (accuracy.in_words, dict(loss=0.3)),
        (accuracy.gap_in_words, dict(gap=0.3, unit="nats")),
        (accuracy.in_own_unit, dict(frame=frame)),
        (accuracy.axes, dict(ax=None, unit="nats")),
        (files.file_text, dict(path=Path(table_file))),
        (files.text_table, dict(path=table_file)),
        (files.check_headers, dict(headers=["model", "200"], sizes=None, place="the table")),
        (files.text_frame, dict(path=table_file, decimal=None)),
        (files.read_frame, dict(path=table_file, decimal=None)),
        (files.similar_path, dict(path=table_file)),
        (files.as_frame, dict(source=frame)),
        (files.plain_frame, dict(frame=frame, place="the table")),
        (logs.read_log, dict(path=log, eval_set=None, measure="loss")),
        (logs.check_pattern, dict(pattern="{model}/{train_size}")),
        (logs.suggested_pattern, dict(parts=("a", "200"))),
        (
            logs.run_rows,
            dict(
                paths=[log], pattern="{model}/{train_size}", take="best", eval_set=None, metric=None
            ),
        ),
        (events.event_entries, dict(path=odd / "events" / "events.out.tfevents.1")),
        (events.event_folder, dict(path=odd / "events" / "events.out.tfevents.1")),
        (events.event_keys, dict(tags=["eval/loss"])),
        (harness.harness_results, dict(path=odd / "results_1.json")),
        (harness.harness_entries, dict(path=odd / "results_1.json")),
        (harness.harness_folder, dict(path=odd / "results_1.json")),
        (exports.export_kind, dict(path=table_file)),
        (
            exports.exported_runs,
            dict(source=str(odd / "wandb.csv"), pattern=None, eval_set=None, metric=None),
        ),
        *((getattr(metrics, name), pair) for name in named),
        (metrics.agreement, pair),
        (metrics.chosen, dict(scores=scores)),
        (metrics.top_k_recall, dict(**pair, k=2)),
        (metrics.coverage, dict(low=low, high=high, truth=low)),
        (metrics.width, dict(low=low, high=high)),
        (metrics.interval_score, dict(low=low, high=high, truth=low, level=0.9)),
        (metrics.crps, dict(quantiles=np.ones((2, 2)), levels=np.array([0.2, 0.8]), truth=low)),
        (metrics.flops, dict(n_params=1e8, examples=200, tokens=1.0, epochs=1.0, train=True)),
        (metrics.example_work, dict(frame=frame, tokens=(1.0, 0.0))),
        (metrics.cost_fraction, dict(seen=frame, target=3200)),
        (table.CurveSet, dict(frame=wide, source="", unit="nats", metric=None)),
        (curves.filter, dict(task=None, model="a", family=None)),
        (curves.where, dict(keep=frame.train_size < 800, what="these")),
        (curves.up_to, dict(train_size=800)),
        (curves.at, dict(train_size=800)),
        (curves.curve, dict(model="a")),
        (curves.save, dict(path=new / "curves.csv")),
        (curves.plot, dict(highlight=2, ax=None)),
        (table.benchmark_names, dict(source="mini")),
        (table.load_benchmark, dict(name="flan")),
        (table.load_published, dict(name="law_fits")),
        (table.read_table, dict(path=table_file, decimal=None)),
        (
            table.load_curves,
            dict(source=table_file, decimal=None, pattern=None, eval_set=None, metric="loss"),
        ),
        (
            table.load_trainer_states,
            dict(
                paths=[log], pattern="{model}/{train_size}", take="best", eval_set=None, metric=None
            ),
        ),
    ]


def of_forecast():
    "Functions of `forecast`."
    import numpy as np
    from lensllm.curves.scores import LOSS
    from lensllm.forecast import calibration, fit, kalman, laws, posterior, prior

    curves = small_curves()
    D, loss = curves.curve("a")
    point = dict(D=D, B=1.0, D_l=1.0, beta=0.5, E=1.0)
    fitted = fit.fit_law("rectified", D, loss)
    sizes, noise = np.geomspace(100, 1e5, 12), np.random.default_rng(0).normal(1, 1e-3, 12)
    inner = fit.fit_law("vanilla", sizes, (20 * sizes**-0.5 + 2) * noise)
    panel = kalman.panel(curves)
    motion = kalman.motion_of(panel, "rectified")
    shared, _ = prior.generic("rectified")
    growth = kalman.expected_growth(panel, shared, motion)
    state = list(kalman.filter_curves(panel, shared, motion))[-1].state
    post = posterior.fit_posterior(curves, 12800, laws="rectified", prior="generic")
    mixture = posterior.NormalMixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)))
    learned = prior.learn_prior([curves])
    mean, sd = prior.generic("rectified")
    mode = prior.shared_mode(panel, "rectified", mean, sd)
    ones = np.ones(3)
    past = calibration.hindcast_of(ones, ones / 10, ones / 20)
    law = dict(name="mine", fn=min, bounds={"E": (0, 1)}, units={"E": "1"}, formula="", guess=min)
    settings = dict(prior="generic", laws="rectified", robust=True, pooled=True)
    return [
        (fit.fit_law, dict(law="rectified", D=D, loss=loss, robust=None, n_starts=1)),
        (fitted.predict, dict(D=6400, interval=0.9)),
        (inner.profile_interval, dict(level=0.9)),
        (fitted.plot, dict(target=6400, interval=0.9, unit="nats", metric=LOSS, ax=None)),
        (laws.RECTIFIED, point),
        (laws.RECTIFIED.grad, point),
        (laws.RECTIFIED.bounded, dict(E=(0, 1))),
        (laws.RECTIFIED.starts, dict(D=D, loss=loss, n=2)),
        (laws.Law, law),
        (laws.separable, dict(axes=min, shape=dict, linear=("B", "E"))),
        (laws.as_law, dict(law="rectified")),
        (kalman.damping, dict(level=np.ones(3), motion=motion)),
        (kalman.panel, dict(seen=curves, target=800)),
        (kalman.motion_of, dict(curves=panel, law="rectified")),
        (kalman.expected_growth, dict(curves=panel, shared=shared, motion=motion)),
        (
            kalman.look_ahead,
            dict(state=state, distance=np.ones(3), expected=growth, motion=motion),
        ),
        (kalman.evidence, dict(curves=panel, shared=shared, motion=motion, robust=True)),
        (kalman.filter_curves, dict(curves=panel, shared=shared, motion=motion, robust=True)),
        (kalman.draw_losses, dict(curves=panel, shared=shared, motion=motion, seed=0)),
        (
            kalman.with_families,
            dict(state=state, curves=panel, expected=growth, family_share=0.4),
        ),
        (kalman.with_hints, dict(state=state, curves=panel, hints={}, motion=motion)),
        (kalman.Hint, dict(mean=[0, 0.3, 1.0], spread=[1, 0.1, 0.1])),
        (prior.with_prior, dict(log_p=ones, u=np.ones((3, 7)))),
        (prior.nearby_mode, dict(log_post=lambda u: -(u**2).sum(1), u=mode.u)),
        (calibration.hindcast_of, dict(distance=ones, error=ones / 10, sd=ones / 20)),
        (calibration.hindcasts, dict(curves=panel, mode=mode, mean=mean, sd=sd, robust=True)),
        (calibration.error_scales, dict(found=[past])),
        (calibration.held_elsewhere, dict(ratio=8)),
        (prior.generic, dict(law="rectified")),
        (prior.learn_prior, dict(tasks=[curves])),
        (prior.load_prior, dict(path=None)),
        (prior.as_prior, dict(prior="transfer", curves=panel)),
        (learned.pooled, dict(law="rectified")),
        (learned.without, dict(curves=panel)),
        (learned.families, dict(curves=panel)),
        (learned.own_growth, dict(curves=panel)),
        (learned.annotate, dict(curves=panel)),
        (
            posterior.fit_posterior,
            dict(seen=curves, target=12800, family_share=0.4, hints=None, **settings),
        ),
        (post.at, dict(size=12800)),
        (post.quantile, dict(p=0.5)),
        (post.below, dict(loss=1.5)),
        (mixture.cdf, dict(x=0.0)),
        (mixture.quantile, dict(p=0.5)),
        (post.shrunk, dict(caution=1.0)),
        (post.within, dict(x=0.1, model="a", n=21)),
        (posterior.in_percent, dict(p=0.5)),
    ]


def of_choose():
    "Functions of `choose`."
    from functools import partial

    import optuna
    import pandas as pd
    from lensllm.choose import amounts, bench, policies, pruner, replay, screening, selectors
    from lensllm.forecast.posterior import fit_posterior

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    watched = optuna.create_study()
    trial = optuna.trial.create_trial(value=3.0, intermediate_values={100: 3.0})
    stops = dict(least_chance=0.05, margin=0.01, n_startup_trials=5, least_steps=3)
    curves = small_curves()
    D, loss = curves.curve("a")
    seen, costs = curves.up_to(1600), policies.run_costs(curves)
    ranking = selectors.rank(curves, 12800, method="ats")
    post = fit_posterior(curves, 12800, laws="rectified", prior="generic")
    zero_shot = curves.frame.query("train_size == 200").assign(train_size=0, test_loss=4.0)
    started = type(curves)(pd.concat([zero_shot, curves.frame]))
    looks = pd.DataFrame(dict(model=["a", "x"], n_params=[1e8, 2e8], zero_shot=[4.0, 5.0]))
    plan = policies.plan(curves, "50%", target=12800, policy="full")
    truth = pd.Series(dict(a=2.0, b=2.1, c=2.2))
    cells = bench.bench_scores("ats", [curves])
    races = dict(start=800, growth=4.0, finalists=2, power=0.25, caution=1.0, p_best=1.0)
    priced = dict(task="t", policy="race", target=100, unit=None, budget_fraction=0.1)
    named = ("full", "subtuning", "uniform", "halving", "hyperband", "race")
    simple = ("modelsize", "subtuning", "ats", "rectifiedfit", "posterior")
    return [
        (selectors.accept_then_stop, dict(D=D, loss=loss, k=3, delta=5)),
        (selectors.AtS, dict(k=3, delta=5.0)),
        (selectors.LawFit, dict(law="rectified", name="z", robust=None, interval=0.9)),
        (selectors.PosteriorSelector, dict(robust=True, pooled=True, second=True)),
        (selectors.NLPMetrics, dict(metric="pl_alpha", name="m")),
        (selectors.as_selector, dict(selector="ats")),
        (selectors.rank, dict(curves=curves, target=12800, seen=1600, method="ats")),
        (
            selectors.compare,
            dict(selectors="ats", tasks=curves, ratios=[2], target=3200, progress=iter),
        ),
        *(
            (selectors.as_selector(name).rank, dict(seen=seen, target=12800, alone=False))
            for name in simple
        ),
        (ranking.evaluate, dict(truth=truth)),
        (ranking.certainty, dict(truth=truth)),
        (selectors.ranked_or_refused, dict(selector=selectors.AtS(), seen=seen, target=12800)),
        (bench.cuts_of, dict(curves=curves)),
        (partial(bench.bench_scores, tasks=[curves]), dict(selectors="ats", progress=iter)),
        (bench.bench_summary, dict(cells=cells)),
        (bench.p_best_calibration, dict(cells=cells)),
        (pruner.LensPruner, dict(target=800, **stops, prior="generic", metric=None)),
        (pruner.LensPruner(800).chance, dict(study=watched, trial=trial)),
        (amounts.chance_reached, dict(post=post, loss=1.5, times=100.0)),
        (amounts.needed_sizes, dict(post=post, loss=1.5, times=100.0)),
        (amounts.plot_needed, dict(post=post, loss=1.5, times=100.0, most=3, ax=None)),
        (amounts.data_gain, dict(post=post, start=6400, end=12800)),
        (amounts.plot_gain, dict(post=post, start=6400, end=12800, most=3, ax=None)),
        (amounts.data_or_model, dict(post=post, start=6400, end=12800, model="a", costs=None)),
        (screening.normal_scores, dict(values=[3.0, 1.0, 2.0])),
        (screening.screening_tables, dict(leave_out="headline")),
        (screening.learn_screen, dict(tables=[started], features=("n_params",))),
        (
            screening.screen,
            dict(candidates=looks, keep=1, tables=[started], draws=100, seed=0),
        ),
        (
            screening.held_out_screens,
            dict(keep=1, of=2, draws=1, seed=0, features=("n_params",), hold_out="source"),
        ),
        (ranking.to_dict, dict(truth=truth)),
        (ranking.plot, dict(truth=None, top=2, ax=None)),
        (
            policies.run_costs,
            dict(curves=curves, sizes=[200], column=None, tokens=1.0, epochs=1.0, probe=0.0),
        ),
        (policies.Plan, dict(runs=())),
        (policies.last_loss, dict(seen=curves, target=12800)),
        (policies.ats_loss, dict(seen=curves, target=12800)),
        (policies.slope_loss, dict(seen=curves, target=12800)),
        (policies.UniformLadder, dict(rank="ats", top=800, name="u")),
        (policies.Halving, dict(start=800, keep=0.5, rank="slope", name="h")),
        (policies.Hyperband, dict(starts=(200, 400), keep=0.5, rank="slope", name="h")),
        (policies.Race, dict(regret=0.0, workers=None, prior="generic", name="race", **races)),
        *(
            (policies.as_policy(name).next, dict(seen=seen, costs=costs, budget=1e13))
            for name in named
        ),
        (policies.as_policy, dict(policy="race")),
        (policies.budget_share, dict(budget="2%", whole=1e10, priced=False)),
        (
            policies.PricedPlan,
            dict(plan=plan, prices=[1.0] * len(plan), whole=10.0, spent_fraction=0.1, **priced),
        ),
        (
            policies.plan,
            dict(curves=curves, budget="50%", target=12800, policy="full", up_to=800, failed=()),
        ),
        (policies.never_run, dict(candidates=["a"], runs=curves.frame, plan=[])),
        (
            replay.simulate,
            dict(policy="full", curves=curves, budget=0.5, target=3200, costs=None, failed=()),
        ),
        (
            replay.pareto,
            dict(policies=["full"], tasks=[curves], budgets=[0.5], draws=1, size=2, seed=0),
        ),
        (replay.pareto_summary, dict(results=replay.pareto(["full"], [curves], [0.5], size=2))),
    ]


def tiny():
    "A small model, and a batch for it."
    from lensllm._internal.tiny import tiny_batch, tiny_model

    sizes = dict(layers=1, width=8, vocab=24)
    return tiny_model("gpt2", seed=0, **sizes), tiny_batch(n=3, tokens=4, seed=0, vocab=24)


def of_models():
    "Functions of `models`."
    from functools import partial

    import numpy as np
    import torch
    from lensllm._internal.tiny import tiny_model
    from lensllm.models import batches, behaviour, loading, tails

    model, batch = tiny()
    wider = tiny_model("gpt2", seed=0, layers=1, width=16, vocab=24)
    same = dict(model=model, batch=batch)
    made = batches.Batch.of(model, batch)
    drawn, _ = batches.sample_logits(model, batch, seed=0)
    zoo, like = str(loading.ZOO / "gpt2-mini-manuals"), torch.zeros(1)
    token_work = dict(n_params=100, encoder_params=None, read=3.0, written=1.0)
    return [
        (batches.shifted_labels, dict(labels=batch["labels"], shift=1)),
        (batches.n_rows, dict(batch=batch)),
        (batches.take, dict(batch=batch, rows=[0], device=None)),
        (batches.beside, dict(batch=batch, like=like)),
        (batches.Batch, dict(entries=batch, shift=1)),
        (batches.Batch.of, dict(**same, output="loss")),
        (made.rows, dict(which=[0])),
        (made.to, dict(device="cpu")),
        (made.beside, dict(like=like)),
        (made.with_sampled_logits, dict(model=model, m=2, seed=0)),
        (lambda size: list(made.pieces(size)), dict(size=2)),
        (batches.check_batch, dict(**same, output="loss")),
        (batches.logits_and_labels, same),
        (batches.sequence_loss, same),
        (batches.summed_logits, same),
        (batches.sampled_logits, dict(model=model, batch=drawn)),
        (batches.sample_logits, dict(**same, m=2, seed=0)),
        (batches.as_output, dict(output="loss")),
        (batches.pick_params, dict(model=model, params="all")),
        (batches.layer_of, dict(name="transformer.h.0.weight")),
        (batches.check_rows_apart, dict(f=batches.sequence_loss, model=model, batch=made)),
        (batches.check_depends, dict(f=batches.sequence_loss, model=model, batch=made)),
        (batches.in_precision, dict(model=model, dtype=None)),
        (batches.free_bytes, dict(device=torch.device("cpu"))),
        (batches.first_nonfinite, dict(f=batches.sequence_loss, **same)),
        (behaviour.behaviour, dict(model=model)),
        (behaviour.label_shift, dict(model=model)),
        (behaviour.check_writes, dict(model=model, name="it")),
        (behaviour.same_behaviour, dict(model=model, copied=model)),
        (loading.count_params, dict(model=model)),
        (loading.token_work, token_work),
        (loading.most_tokens, dict(model=model)),
        (loading.pick_device, dict(device="cpu")),
        (partial(loading.check_device, "device"), dict(device="cpu")),
        (loading.load_model, dict(name=zoo, device="cpu", trust=())),
        (loading.check_trust, dict(trust=())),
        (loading.character_tokenizer, dict(characters="abc")),
        (loading.load_pair, dict(start=zoo, end=zoo, device="cpu")),
        (tails.fit_tail, dict(eigvals=np.arange(1.0, 40.0), start=None)),
        (tails.weight_tails, dict(model=wider)),
        (tails.tail_metrics, dict(model=wider)),
    ]


def of_kernels(new):
    "Functions of `kernels`."
    import numpy as np
    import pandas as pd
    from lensllm.forecast.fit import fit_law
    from lensllm.kernels import dynamics, lens, ntk, spectra

    model, batch = tiny()
    K, r = np.diag([4.0, 3.0, 2.0, 1.0]), np.ones(4)
    rates, shares, sizes = np.geomspace(1, 1e-3, 12), np.geomspace(1, 1e-2, 12), [1.0, 10.0, 100.0]
    kernel = ntk.ntk_gram(model, batch, output="sampled")
    kernel.save(new / "kernel.npz")
    law = lens.LensLaw(rates, shares, 0.1)
    D, loss = small_curves().curve("a")
    options = dict(micro_batch=2, memory=None, products=None, devices=None, progress=None)
    choices = dict(output="loss", params="all", method="auto", dtype=None)
    draws = dict(sketch=None, samples=2, seed=0)
    flow = dict(times=[0.0, 1.0], eta=1.0)
    at = dict(D=sizes, E_g=[3.0, 2.0, 1.0], ax=None)
    one = lens.kernel_features(kernel, eta=0.1, t=1.0)
    noise = np.random.default_rng(0).normal(1, 0.1, (6, len(one)))
    features = pd.DataFrame(one.to_numpy() * noise, index=list("abcdef"), columns=one.index)
    return [
        (ntk.ntk_gram, dict(model=model, batch=batch, batch2=None, **choices, **options, **draws)),
        (ntk.load_kernel, dict(path=new / "kernel.npz")),
        (kernel.save, dict(path=new / "kernel.npz")),
        (kernel.plot, dict(ax=None)),
        (ntk.NTKTracker, dict(batch=batch, steps=(0,), every=None)),
        (spectra.spectrum, dict(K=K, name="K")),
        (spectra.spectrum(K).plot, dict(ax=None, decay=None)),
        (spectra.effective_dimension, dict(K=K, kappa=1.0)),
        (spectra.condition_number, dict(K=K)),
        (
            spectra.decay_exponent,
            dict(K=np.diag(np.geomspace(1, 1e-3, 12)), ranks=None, interval=0.95, centred=False),
        ),
        (spectra.target_alignment, dict(K=K, y=r)),
        (spectra.centred_alignment, dict(K1=K, K2=K)),
        (dynamics.squared_flow, dict(K=K, r0=r, **flow)),
        (
            dynamics.cross_entropy_flow,
            dict(K=K, logits0=np.zeros((4, 2)), labels=[0, 1, 0, 1], rtol=1e-6, atol=1e-8, **flow),
        ),
        (
            dynamics.kernel_learning_curve,
            dict(eigvals=rates, target_weights=shares, D=sizes, ridge=0.1, noise=0.0),
        ),
        (
            dynamics.plot_learning_curve,
            dict(**at, at=None, measured=None, stderr=None),
        ),
        (dynamics.empirical_weights, dict(K=K, y=r)),
        (dynamics.measured_learning_curve, dict(K=K, y=r, D=[1.0, 2.0], ridge=0.1)),
        (lens.LensLaw, dict(eigvals=rates, weights=shares, eta=0.1)),
        (law.F, dict(t=1.0)),
        (law.dF, dict(t=1.0)),
        (law.t_of, dict(D_l=1.0)),
        (law.D_l_of, dict(t=1.0)),
        (law.law, dict(t=1.0)),
        (law.to_rectified, dict(B=1.0, beta=0.5, E=1.0, t=1.0)),
        (law.from_rectified, dict(B=1.0, D_l=1.0, beta=0.5, E=1.0)),
        (law.doubts, dict(fit=fit_law("rectified", D, loss))),
        (lens.lens_law, dict(kernel=K, residual=r, eta=0.1)),
        (lens.hint_of, dict(D_l=(1.0, 0.1), beta=None, E=None)),
        (lens.curve_hint, dict(D=D, predicted=loss, spread=[1.0, 0.1, 0.1], scale=None)),
        (lens.kernel_features, dict(kernel=kernel, residual=None, eta=0.1, t=1.0)),
        (lens.learn_hints, dict(features=features, curves=six_curves(), new=None)),
    ]


def of_generalization():
    "Functions of `generalization`."
    import copy

    import numpy as np
    import torch
    from lensllm._internal.tiny import tiny_batch
    from lensllm.generalization import bounds, certificates, curvature, products

    start, batch = tiny()
    end = copy.deepcopy(start)
    for p in end.parameters():
        p.data += 0.01
    unseen = tiny_batch(n=3, tokens=4, seed=1, vocab=24)
    pair, seeded = dict(model0=start, model=end), dict(generator=torch.Generator().manual_seed(0))
    data, on = dict(model=start, batches=[batch]), dict(params="all")
    operator = products.Products(start, [batch])
    risk, base = (
        dict(emp_risk=0.2, n=100, delta=0.05),
        dict(generator=None, memory=None, dtype=None),
    )
    with_kl = (
        *(certificates.kl_bound, certificates.mcallester_bound, certificates.quadratic_bound),
        *(certificates.thiemann_bound, certificates.catoni_bound),
    )
    density = curvature.spectral_density(operator, draws=2, steps=4, **seeded)
    few, scale = dict(num_probes=2), bounds.Scale(24)
    terms_of = dict(**pair, batches=[batch], n=100, loss_bound=5.0, over="max", b=0.9, steps=3)
    terms = bounds.bound_terms(**terms_of, **seeded, **few)
    halves = dict(data=[batch], held_out=[unseen], delta=0.05, ways=("held out",))
    certified = bounds.certify(**pair, **halves, **seeded, draws=2)
    settings = dict(candidates=1, unit="token", tokens_per_byte=3.0, noise=None, draws=2)
    n = np.array([200, 400, 800, 1600, 3200, 6400])
    ways = dict(kind="hessian", output="loss", method="auto", batch_size=2, **base)
    return [
        (products.check_generator, seeded),
        (products.Products, dict(**data, **on, **ways)),
        (operator.split, dict(v=torch.ones(operator.P))),
        (curvature.Estimate(1.0, 0.1, 9, 9, "x").interval, dict(level=0.95)),
        (curvature.as_products, dict(**data, **seeded)),
        (
            curvature.hessian_trace,
            dict(**data, **on, **seeded, **few, rel_stderr=0.05, method="hutchinson"),
        ),
        (curvature.layer_traces, dict(**data, **on, **seeded, **few)),
        (
            curvature.top_eigenvalues,
            dict(**data, **on, **seeded, k=1, which="largest", rtol=0.1, max_products=9),
        ),
        (
            curvature.curvature_along,
            dict(**data, **on, v=torch.ones(operator.P), steps=3, rtol=0.5),
        ),
        (density.mean_of, dict(f=np.abs, unit="x")),
        (density.at, dict(x=np.ones(2), width=0.1)),
        (density.plot, dict(width=0.1, ax=None)),
        (curvature.spectral_density, dict(**data, **on, **seeded, draws=2, steps=3)),
        (bounds.update_of, dict(**pair, **on)),
        (bounds.bound_terms, dict(**terms_of, **seeded, **few, **on, progress=iter)),
        (terms.plot, dict(ax=None)),
        (bounds.lens_split, dict(n=n, values=3.0 * n**-0.5 + 1e-5 * n + 0.1)),
        (bounds.Scale, dict(V=24, unit="token", tokens_per_byte=3.0)),
        (scale.risks, dict(nats=np.ones((2, 6)))),
        (scale.nats, dict(risks=np.ones((2, 6)) / 2)),
        (bounds.row_nats, dict(model=start, batch=batch, scale=scale)),
        (
            bounds.tolerated_noise,
            dict(**pair, batches=[batch], tolerance=0.5, draws=2, **seeded, **on),
        ),
        (certified.plot, dict(ax=None)),
        (bounds.plain_losses, data),
        (bounds.certify, dict(**pair, **halves, **seeded, **settings, **on)),
        (certificates.check_delta, dict(delta=0.05)),
        (certificates.binary_kl, dict(q=0.1, p=0.2)),
        (certificates.kl_inverse, dict(emp_risk=0.1, c=0.2)),
        *((bound, dict(**risk, kl=2.0)) for bound in with_kl),
        (certificates.held_out_bound, dict(**risk, candidates=2)),
        (certificates.occam_bound, dict(**risk, code=2.0)),
        (certificates.sampled_risk, dict(mean=0.2, draws=100, delta=0.05)),
        (certificates.gaussian_kl, dict(shift2=1.0, sigma=0.1, sigma0=0.1, size=9)),
        (certificates.smoothed_range, dict(a=0.1, V=24)),
        (certificates.code_nats, dict(counts=[3, 4])),
    ]


def elsewhere(folder):
    "A study of runs that are made elsewhere, with one loss."
    from lensllm.tune.study import new_study

    sizes = dict(sizes=[200, 400, 800], target=800)
    study = new_study(folder, task="t", candidates=dict(a=100, b=200), budget=0.5, **sizes)
    study.tell("a", 200, 3.0)
    return study


def of_tune(new):
    "Functions of `tune`."
    import copy

    import numpy as np
    import pandas as pd
    from lensllm.models.loading import ZOO, load_model
    from lensllm.tune import callback, chats, findings, recipe, store, study
    from lensllm.curves.scores import Metric
    from lensllm.tune import evaluation, looks, losses, tasks, trainer, training, workers

    zoo, rows_file = str(ZOO / "gpt2-mini-manuals"), str(new / "rows.jsonl")
    model, tokenizer = load_model(zoo, device="cpu")
    rows = [(f"word {i}", f"text {i}") for i in range(60)]
    (new / "rows.jsonl").write_text("".join(f'{{"text": "text {i}"}}\n' for i in range(60)))
    parts = [tuple(rows[:40]), tuple(rows[40:50]), tuple(rows[50:])]
    task = tasks.Task("t", *parts)
    short = recipe.Recipe(rate=1e-3, passes=0.1, least_steps=1, checks=1, max_tokens=16)
    encoded = tasks.encode(rows[:3], tokenizer)
    priced = dict(n_params=100, encoder_params=None, tokens=(1.0, 2.0), recipe=short)
    others = dict(others=(10, 10))
    told = elsewhere(new / "study")
    held = store.Store(new / "store")
    held.add_candidate("a", 100)
    held.plan([("a", 200, 0)])
    run = ("a", 200, 0)
    texts = dict(tokenizer=tokenizer, max_tokens=16)
    said = (("user", "a"), ("assistant", "b"))
    where = dict(device="cpu", trust=())
    fields = recipe.Recipe().__dict__
    places = dict(checkpoint=None, trunk=None, keep=None, watch=None)
    named = dict(metric="exact_match")
    fresh = dict(task="t", candidates=dict(a=100), policy="race", budget=0.5, budget_size=None)
    wishes = dict(target=800, sizes=[200, 800], seed=0, recipe=None, unit=None, test=None)
    sources = dict(task=rows_file, candidates=[zoo], columns=None, loss_on="last")
    sources |= dict(probes=False, trust=(), must_see=())
    own = {
        **wishes,
        **sources,
        **named,
        "budget_size": 20,
        "sizes": [10, 20],
        "target": 20,
        "recipe": short,
    }
    once = dict(executor="local", workers=1, device="cpu", budget=None, must_see=None, trust=())
    once |= dict(gpus_per_run=1, metric=None)
    counted = dict(seed=None, test_loss_se=None, reason=None, correct=True)
    exact, scored_by = evaluation.scoring_of("exact_match", task), new / "score.py"
    scored_by.write_text("def score(answers, targets):\n    return 1.0\n")
    ready = dict(model=model, tokenizer=tokenizer, rows=rows[:2])
    limits = dict(max_tokens=16, rows_at_once=2)
    return [
        (tasks.load_rows, dict(path=rows_file, columns=None, argument="DATA", loss_on="last")),
        (tasks.content_key, dict(row=("a", "b"))),
        (tasks.Task, dict(name="t", train=parts[0], valid=parts[1], test=parts[2], repeated=0)),
        (task.subset, dict(n=3)),
        (tasks.load_task, dict(source=rows_file, test=None, columns=None, loss_on="last")),
        (tasks.task_of, dict(source=dict(task=rows_file, test=None, columns=None))),
        (tasks.split_rows, dict(rows=rows[:40], name="t", validation=parts[1], test=parts[2])),
        (tasks.encode, dict(rows=rows[:3], **texts, pairs=False)),
        (tasks.encode_prompts, dict(rows=rows[:3], **texts, pairs=False)),
        (tasks.collate, dict(encoded=encoded, tokenizer=tokenizer)),
        (tasks.marked_row, dict(row=rows[0], **texts, pairs=False)),
        (tasks.answer_text, dict(row=rows[0])),
        (tasks.row_text, dict(row=rows[0])),
        (chats.Chat, dict(turns=said, loss_on="all", where="row 1")),
        (chats.has_template, dict(tokenizer=tokenizer)),
        (tasks.as_batch, dict(rows=rows[:3], **texts)),
        (tasks.count_cut, dict(rows=rows[:3], **texts, pairs=True)),
        (recipe.Recipe, fields),
        (short.steps, dict(n=3)),
        (short.steps_from, dict(m=3, n=6)),
        (short.effort, dict(m=3, n=6)),
        (recipe.fresh_rate, dict(step=1, steps=9, recipe=recipe.Recipe(rate=1e-3))),
        (
            recipe.continued_rate,
            dict(step=1, decay_from=3, steps=9, recipe=recipe.Recipe(rate=1e-3)),
        ),
        (recipe.run_price, dict(**priced, n=3, **others, m=0, scoring=(1.0, 0.0))),
        (recipe.search_price, dict(**priced, **others)),
        (findings.Findings, dict(runs=1, rows=8, delta=0.05)),
        (evaluation.Scoring, dict(by="accuracy", metric=Metric("accuracy", True, True))),
        (evaluation.scoring_of, dict(metric="exact_match", task=task)),
        (evaluation.task_labels, dict(task=task)),
        (evaluation.file_and_function, dict(by=f"{scored_by}:score")),
        (evaluation.score_answers, dict(scoring=exact, answers=["a", "b"], targets=["a", "c"])),
        (evaluation.rank_labels, dict(**ready, labels=["a", "b"], **limits)),
        (evaluation.longest_answer, dict(task=task, **texts, pairs=False)),
        (evaluation.generate_answers, dict(**ready, new_tokens=2, **limits)),
        (
            evaluation.model_score,
            dict(model=model, tokenizer=tokenizer, task=task, scoring=exact, **limits),
        ),
        (evaluation.scoring_tokens, dict(task=task, scoring=exact, **texts, pairs=False, rows=3)),
        (losses.ratio, dict(a=np.ones(3), b=np.ones(3))),
        (
            losses.row_costs,
            dict(model=model, tokenizer=tokenizer, encoded=encoded, rows_at_once=2),
        ),
        (training.prepared, dict(model=copy.deepcopy(model), recipe=short, seed=0)),
        (training.max_tokens, dict(model=model, recipe=short)),
        (
            training.finetune,
            {
                **dict(model=zoo, task=task, train_size=10, seed=0, recipe=short),
                **where,
                **places,
                **dict(scoring=exact),
            },
        ),
        (
            training.probe_rate,
            dict(model=zoo, task=task, recipe=short, seed=0, rows=4, steps=1, **where),
        ),
        (training.work, dict(spec=dict(), progress=None, alone=False)),
        (recipe.read_recipe, dict(path=None, settings=["passes=2"])),
        (recipe.split_candidate, dict(candidate="opt-bible@lora:r=16")),
        (trainer.check_arguments, dict(arguments=dict(optim="sgd"), device=None)),
        (training.loaded_in_half, dict(recipe=short, device=model.device)),
        (training.loading_options, dict(recipe=short, device=model.device)),
        (
            workers.check_executor,
            dict(name="local", workers=1, ladder="fresh", gpus_per_run=1),
        ),
        (workers.open_executor, dict(name="local", workers=1, gpus_per_run=1)),
        (workers.Torchrun, dict(processes=2)),
        (workers.Processes, dict(workers=1)),
        (store.Store, dict(folder=new / "store", look=False)),
        (held.set_fact, dict(key="x", value=3, anew=True)),
        (held.fact, dict(key="x", default=None)),
        (
            held.add_candidate,
            dict(name="b", n_params=100, source=None, encoder_params=None),
        ),
        (held.plan, dict(runs=[run], prices=[1.0], why="w")),
        (held.claim, dict(in_turn=())),
        (held.curves, dict(loss=None)),
        (held.lend, dict(n=1, seconds=60.0)),
        (held.artefact, dict(run=run, suffix=".pt")),
        (
            held.done,
            dict(run=run, test_loss=3.0, test_loss_se=None, result=None, correct=True, price=None),
        ),
        (held.failed, dict(run=run, reason="r", again=False, correct=True, price=None)),
        (lambda run: (held.done(run, 3.0), held.forget(run)), dict(run=("a", 400, 0))),
        (study.name_of, dict(source=zoo)),
        (study.json_safe, dict(value=3)),
        (
            study.inspect_candidate,
            dict(source=zoo, task=task, recipe=short, rows=3, scoring=exact, **where),
        ),
        (looks.zero_shot_look, dict(source=zoo, task=task, rows=3, seed=0, recipe=short, **where)),
        (study.new_study, {"folder": new / "fresh", **fresh, **wishes}),
        (study.new_study, dict(folder=new / "made", **own)),
        (study.Study, dict(folder=new / "study")),
        (told.fund, dict(budget=0.6, must_see=["a"], keep=True)),
        (told.first_looks, dict(models=["b"])),
        (told.charge, dict(price_per_hour=2.0, keep=False)),
        (told.expected_seconds, dict(runs=[("a", 400)], speeds=pd.Series(dict(a=1.0)))),
        (told.bill, dict(runs=[("a", 400)], speeds=None)),
        (told.bill_text, dict(runs=[("a", 400)], speeds=None)),
        (study.duration, dict(seconds=3.0)),
        (study.candidate_speed, dict(source=zoo, task=task, recipe=short, **where)),
        (told.look_remedy, dict(models=["b"], plan=[("a", 400)])),
        (told.priced, dict(runs=[("a", 200)], told=False)),
        (told.tell, dict(model="a", train_size=200, test_loss=3.0, **counted)),
        (told.check_sources, dict(trust=())),
        (told.lend, dict(n=1, lease=60.0)),
        (
            callback.TellCallback,
            dict(study=told, model="a", train_size=200, seed=0, take="best", eval_set=None),
        ),
        (study.new_study(new / "made", **own).run, once),
        (study.new_study(new / "made", **own).score_by, named),
    ]


def of_report(new):
    "Functions of `report`."
    import pandas as pd
    from lensllm.choose import selectors
    from lensllm._internal.style import loss_axes
    from lensllm.report import charts, contents, figures, inline, page

    curves = small_curves()
    ranking = selectors.rank(curves, 12800, method="ats")
    truth = pd.Series(dict(a=2.0, b=2.1, c=2.2))
    complete, last = small_curves(), max(curves.sizes)
    rankable = selectors.rank(complete.up_to(last // 4), last, method="ats")
    table = selectors.compare(["ats", "subtuning"], curves, [2], target=3200)
    course = dict(train_size=100, step=7, losses=[[0, None, 3.0], [7, 2.9, 2.8]])
    return [
        (figures.plot_compare, dict(table=table, metric="pearson", highlight=["ats"], ax=None)),
        (figures.plot_predictions, dict(ranking=ranking, truth=truth, ax=None)),
        (figures.plot_forecast, dict(ranking=rankable, truth=complete, top=2)),
        (inline.inline_svg, dict(ax=loss_axes(), prefix="a", description="An axis.", marks=None)),
        (charts.curve_chart, dict(ranking=ranking, colours=dict(a="#0173b2"))),
        (charts.training_chart, dict(runs=[course], prefix="a", points=True)),
        (contents.report_contents, dict(study=elsewhere(new / "contents"))),
        (page.study_report, dict(study=elsewhere(new / "reported"), path=new / "report.html")),
    ]


def of_optuna(new):
    "Functions of `optuna`."
    from lensllm.optuna import to_optuna

    study = elsewhere(new / "copied")
    return [(to_optuna, dict(study=study, storage=None, name="copied", replace=False))]


def all_calls(odd, new):
    "Every good call, by package: (function, its arguments)."
    return dict(
        curves=of_curves(odd, new),
        forecast=of_forecast(),
        choose=of_choose(),
        models=of_models(),
        kernels=of_kernels(new),
        generalization=of_generalization(),
        tune=of_tune(new),
        report=of_report(new),
        optuna=of_optuna(new),
    )
