do $$ begin raise notice 'begun'; end $$;
select pg_sleep(60)
