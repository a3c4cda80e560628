-- $1 text
select set_config('conformance.text', $1, false);
do $$ begin raise exception 'it failed: %', current_setting('conformance.text'); end $$;
select 'not reached'
