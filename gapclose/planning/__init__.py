"""Planning: objectives, planners that search for actions through a world model, and their execution (open loop, MPC).

How well executed plans do is measured in `evaluation`.
"""
